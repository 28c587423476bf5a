import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # so that tests find films.py wherever they are started
if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores; threads that wait for each other only cost
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
