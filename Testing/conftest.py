import os
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))  # so that tests find films.py wherever they are started
if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores; threads that wait for each other only cost
    torch.set_num_threads(1)
