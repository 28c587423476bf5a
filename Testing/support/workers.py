"""Workers whose networks' packages are stand-ins, so that they start at once and do whatever a test wants."""

import json
import queue
import subprocess
import sys
import threading

from DualFaceReconLib.worker import protocol

NOTHING = "raise ImportError('there is none')"
SEGFAULT = "import ctypes\nctypes.string_at(0)"

# Of a torch that loads: what is done with it fails, or does not come back for a minute
FAULT = "def __getattr__(name):\n    raise (AttributeError if name.startswith('__') else ValueError)('Muster^Erika')\n"
STUCK = """
import time
def __getattr__(name):
    time.sleep(0 if name.startswith("__") else 60)
    raise AttributeError
"""


class Packages:
    """A folder of packages that stands before others; what `torch` does when it is imported may be said anew."""

    def __init__(self, folder):
        self.folder, self._said = folder, 0
        for name in ("dynamic_network_architectures", "safetensors"):
            folder.joinpath(f"{name}.py").write_text("", encoding="utf-8")
        for package in ("torchvision", "torchvision/models", "torchvision/ops", "timm", "timm/models", "timm/data"):
            folder.joinpath(package).mkdir()
            folder.joinpath(package, "__init__.py").write_text("", encoding="utf-8")
        for module in ("models/nfnet", "data/constants"):
            folder.joinpath("timm", f"{module}.py").write_text("", encoding="utf-8")
        folder.joinpath("timm", "version.py").write_text("__version__ = '1'", encoding="utf-8")
        self.torch(NOTHING)
        self._gate = folder / "gate"

    def torch(self, program):
        """A program that fails is asked again by the next `hello`."""
        self._said += 1  # another size, or Python would take the compiled one
        self.folder.joinpath("torch.py").write_text(program + "\n" * self._said, encoding="utf-8")

    def wait(self, first=""):
        """Importing goes on until `go_on`."""
        self._gate.unlink(missing_ok=True)
        self.torch(
            f"{first}\nimport os, time\nwhile not os.path.exists({str(self._gate)!r}):\n    time.sleep(0.01)\n{NOTHING}"
        )

    def go_on(self):
        self._gate.touch()


class Pipes:
    """A worker as bare pipes: bytes in, lines out."""

    def __init__(self, packages, folder=None, **environment):
        self.process = subprocess.Popen(
            protocol.command(sys.executable, folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**protocol.environment(packages), **environment},
        )
        self.out = queue.SimpleQueue()
        self.logged = []
        self._threads = [threading.Thread(target=work) for work in (self._read, self._read_log)]
        for thread in self._threads:
            thread.start()

    def send(self, data):
        """Bytes, or a dict as a line."""
        self.process.stdin.write(data if isinstance(data, bytes) else json.dumps(data).encode() + b"\n")
        self.process.stdin.flush()

    def next(self):
        """The next line, which has to be JSON; None at the end."""
        text = self.out.get(timeout=60)
        return None if text is None else json.loads(text)

    def rest(self):
        """Ends stdin and gives what still comes, and the exit code."""
        self.process.stdin.close()
        lines = []
        while (message := self.next()) is not None:
            lines.append(message)
        return lines, self.finished()

    def finished(self):
        code = self.process.wait(60)
        for thread in self._threads:
            thread.join()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()
        return code

    def _read(self):
        for text in self.process.stdout:
            self.out.put(text)
        self.out.put(None)

    def _read_log(self):
        for text in self.process.stderr:
            self.logged.append(text.decode("utf-8", "replace").rstrip())
