"""The work of a batch without networks or meshes: what processes of a cluster's tests load is little."""

from __future__ import annotations

import os
import time

from DualFaceReconLib.batch import job
from DualFaceReconLib.disk.folders import write_folder
from DualFaceReconLib.document import DOCUMENT


class LightWork(job.FilmWork):
    """Writes a folder of two files for every film, and enters beside the output what was begun and what was saved."""

    pauses_s = 0.3, 0.1  # while it computes, and while it writes

    def __call__(self):
        job.save, job.summary_of = self.save, lambda reconstruction: {"warnings": "0", "completed": "0", **BONES}
        return job._Loaded(self.out, self.choices, self)

    def __str__(self):
        return "light"

    def run(self, radiograph, **how):
        self.enter("begun", radiograph.pixel_hash)
        time.sleep(self.pauses_s[0])
        return radiograph.pixel_hash

    def save(self, pixel_hash, folder, overwrite):
        def write(beside):
            (beside / "picture.png").write_text(pixel_hash)
            time.sleep(self.pauses_s[1])
            (beside / DOCUMENT).write_text("{}")

        write_folder(folder, write)
        self.enter("saved", pixel_hash)

    def enter(self, what, pixel_hash):
        file = os.open(self.out.parent / what, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, f"{pixel_hash}\n".encode())
        os.close(file)


class QuickWork(LightWork):
    """Without pauses."""

    pauses_s = 0, 0


BONES = dict.fromkeys(("hip_left", "hip_right", "femur_left", "femur_right"), "not found")
