"""Pictures from bones: depth truth, path lengths, radiographs."""
