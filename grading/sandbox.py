"""Run a notebook's kernel in a sandbox, so that foreign code meets neither files nor network.

Bubblewrap gives the kernel an empty world: the system's libraries, this Python environment and the
package, all read-only; a folder in memory to work in; no network, no other processes. `prlimit`
caps memory and the size of files. Messages pass through sockets in the one folder that both sides
see. Such a sandbox shares the machine's operating system: it stops curious and careless code, and
is no virtual machine.
"""

import importlib.util
import os
import shutil
import site
import subprocess
import sys
import tempfile
from pathlib import Path

from jupyter_client.manager import AsyncKernelManager
from traitlets import default

MEMORY = 6 * 2**30  # bytes of address space a process; torch for CUDA maps several GB
FILE = 64 * 2**20  # bytes a file
SCRATCH = 256 * 2**20  # bytes in all of the folder in memory
PROCESSES = 256  # in a sandbox, threads count; the system holds root to no such limit


def command(inside: list[str], shared: Path | None = None) -> list[str]:
    """Return the command line that runs `inside` in the sandbox.

    Parameters
    ----------
    inside : list of str
        A program of this Python environment, with its arguments.
    shared : Path, optional
        The one folder outside that the program may write to.
    """
    package = Path(importlib.util.find_spec("s3rec_mini").origin).parent
    libraries = ["/usr", "/bin", "/lib", "/lib64", "/etc/alternatives", "/etc/ld.so.cache",
                 "/etc/fonts", sys.base_prefix, sys.prefix, *site.getsitepackages(), str(package)]
    visible = [part for path in libraries if os.path.exists(path)
               for part in ("--ro-bind", path, path)]
    folder = ["--bind", str(shared), str(shared)] if shared else []
    prlimit, bwrap = (shutil.which(name) or name for name in ("prlimit", "bwrap"))
    return [
        "env", "-i",  # of the first process inside, which shows it, too
        prlimit, f"--as={MEMORY}", f"--fsize={FILE}", "--core=0", "--",
        bwrap, "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session",
        "--cap-drop", "ALL", "--dev", "/dev", "--proc", "/proc",
        "--size", str(SCRATCH), "--tmpfs", "/tmp",  # before what may lie below it
        *visible, *folder, "--dir", "/tmp/work", "--chdir", "/tmp/work",
        "--remount-ro", "/dev", "--remount-ro", "/proc", "--remount-ro", "/",
        "--clearenv", "--setenv", "HOME", "/tmp/work", "--setenv", "OMP_NUM_THREADS", "1",
        "--setenv", "PYTHONPATH", str(package.parent),
        "--setenv", "PATH", f"{sys.prefix}/bin:/usr/bin:/bin", "--setenv", "TQDM_DISABLE", "1",
        "prlimit", f"--nproc={PROCESSES}", "--",  # here it leaves out what else the teacher runs
        *inside,
    ]


def left_out() -> bool:
    """Say whether the teacher wants none, by UNSANDBOXED=1."""
    return os.environ.get("UNSANDBOXED") == "1"


def check() -> None:
    """Raise OSError, with what to do, if a sandbox is wanted and there can be none here."""
    if left_out():
        return
    for program, package in (("bwrap", "bubblewrap"), ("prlimit", "util-linux")):
        if shutil.which(program) is None:
            raise OSError(f"{program} is missing, which keeps students' code away from your "
                          f"files: apt-get install {package}")
    tried = subprocess.run(command(["python", "-c", "pass"]), capture_output=True, text=True)
    if tried.returncode:
        raise OSError(
            f"the sandbox does not start here ({tried.stderr.strip()}). Allow it: on Ubuntu 24.04 "
            f"by sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, in a container by "
            f"docker run --security-opt seccomp=unconfined --security-opt systempaths=unconfined. "
            f"Or say UNSANDBOXED=1 if every submission may do to this machine what you may")


class SandboxedKernelManager(AsyncKernelManager):
    """Starts kernels in the sandbox, and speaks to them through sockets of the file system."""

    transport = "ipc"

    @default("connection_file")
    def _own_folder(self) -> str:
        return str(Path(tempfile.mkdtemp(prefix="s3rec-kernel-")) / "kernel.json")

    def format_kernel_cmd(self, extra_arguments=None) -> list[str]:
        """Return the kernel's usual command line, wrapped."""
        self.kernel_spec.interrupt_mode = "message"  # a signal would end the sandbox
        usual = super().format_kernel_cmd(extra_arguments)
        return command(usual, Path(self.connection_file).parent)

    async def _async_cleanup_resources(self, restart: bool = False) -> None:
        await super()._async_cleanup_resources(restart)
        if not restart:
            shutil.rmtree(Path(self.connection_file).parent, ignore_errors=True)

    cleanup_resources = _async_cleanup_resources


def kernel_manager() -> type[AsyncKernelManager]:
    """Return what starts the kernels of submissions."""
    return AsyncKernelManager if left_out() else SandboxedKernelManager
