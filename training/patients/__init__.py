"""Virtual patients: real people's bones mixed, posed, ill, operated on, clothed in flesh."""
