# On Colab only: install the package where it is missing; its own torch and numpy stay
# as they are.
import os
import subprocess
import sys
from importlib import metadata, util

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait sleep
ADDRESS = "git+https://example.org/s3rec-mini"
if "google.colab" in sys.modules and util.find_spec("s3rec_mini") is None:
    if "example.org" in ADDRESS:
        raise SystemExit("The book has no public address yet: install s3rec-mini.")
    kept = [f"{n}=={metadata.version(n)}" for n in ("torch", "numpy", "matplotlib")]
    command = [sys.executable, "-m", "pip", "install", "--quiet", ADDRESS, *kept]
    subprocess.run(command, check=True)
