# On Colab only: install the package where it is missing; its own torch and numpy stay
# as they are.
import os
import subprocess
import sys
from importlib import metadata, util
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait sleep
ADDRESS = "git+https://example.org/s3rec-mini"
if "google.colab" in sys.modules and util.find_spec("s3rec_mini") is None:
    uploaded = [str(path) for path in Path().glob("s3rec_mini-*.whl")][-1:]
    if not uploaded and "example.org" in ADDRESS:
        raise SystemExit("Upload the file s3rec_mini-….whl from the book's page of "
                         "notebooks, then run this cell again.")
    kept = [f"{n}=={metadata.version(n)}" for n in ("torch", "numpy", "matplotlib")]
    command = [sys.executable, "-m", "pip", "install", "--quiet",
               *(uploaded or [ADDRESS]), *kept]
    subprocess.run(command, check=True)
