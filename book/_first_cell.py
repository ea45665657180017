# On Colab only: install the package where it is missing; its own torch and numpy stay
# as they are.
import subprocess
import sys
from importlib import metadata, util

ADDRESS = "git+https://example.org/s3rec-mini"
if "google.colab" in sys.modules and util.find_spec("s3rec_mini") is None:
    if "example.org" in ADDRESS:
        raise SystemExit("The book has no public address yet: "
                         "upload and install s3rec-mini.")
    kept = [f"{name}=={metadata.version(name)}"
            for name in ("torch", "numpy", "matplotlib")]
    command = [sys.executable, "-m", "pip", "install", "--quiet", ADDRESS, *kept]
    subprocess.run(command, check=True)
