import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # so that tests find support/ wherever they are started
if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores; threads that wait for each other only cost
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy asks once, when it is loaded
    import torch

    torch.set_num_threads(1)
