"""A process that stays: loads a bundle once and turns film after film into bones, driven by lines of JSON.

    python -m DualFaceReconLib.worker                # requests on stdin, answers on stdout, the log on stderr

`protocol.py` has what is said, for whoever drives it; `client.py` drives it by pipes, a Qt panel by QProcess; neither
needs torch, VTK or Slicer. `engine.py` does what is asked, `__main__.py` reads and answers.
"""
