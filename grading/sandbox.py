"""Run a notebook's kernel in a sandbox, so that foreign code meets neither files nor network.

Bubblewrap gives the kernel an empty world: the system's libraries and this Python environment, all
read-only; one temporary folder in memory; no network, no other process, no right, and an ordinary
user even where the teacher is root. Messages pass through sockets in that folder. `prlimit` caps
what a process uses; a cgroup, where there may be one, and `watch` cap what all use together. Such a
sandbox shares the machine's operating system: it stops curious and careless code, and is no virtual
machine.
"""

import ctypes
import functools
import importlib.util
import os
import shutil
import site
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
from jupyter_client.manager import AsyncKernelManager
from traitlets import Unicode

SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc/alternatives", "/etc/ld.so.cache", "/etc/fonts")
MEMORY = 6 * 2**30  # bytes of a submission, and of address space of each of its processes
FILE = 64 * 2**20  # bytes a file
SCRATCH = 256 * 2**20  # bytes of the temporary folder, sockets and all
PROCESSES = 64  # in a sandbox, threads count: a kernel has some fifteen
BUSY = 1.3  # processors that a submission may keep busy: others are graded beside it
NOBODY = 65534  # whom the kernel belongs to where the teacher is root
PACKAGE = Path(importlib.util.find_spec("s3rec_mini").origin).parent
ABSENT = Path(__file__).with_name("absent.py")  # is the package where students build it
MOUNTS, USERS, SLAVES = 0x20000, 0x10000000, 0x4000 | 0x80000  # of unshare(2), mount(2)
PROGRAMS = ("bwrap", "choom", "prlimit", "setpriv")
CAPS = {"memory.limit_in_bytes": MEMORY, "memory.memsw.limit_in_bytes": MEMORY,  # of cgroups
        "memory.max": MEMORY, "memory.swap.max": 0}


def command(inside: list[str], shared: Path | None = None, package: bool = True) -> list[str]:
    """Return the command line that runs `inside` in the sandbox.

    Parameters
    ----------
    inside : list of str
        A program of this Python environment, with its arguments.
    shared : Path, optional
        The temporary folder, which both sides see.
    package : bool
        Whether s3rec_mini is there.
    """
    libraries = [path for path in (*SYSTEM, sys.base_prefix, sys.prefix, *site.getsitepackages(),
                                   str(PACKAGE), str(ABSENT)) if os.path.exists(path)]
    folders = {str(folder) for path in (*libraries, shared or "/") for folder in Path(path).parents}
    visible = [part for path in sorted(folders) for part in ("--dir", path)]  # for all to enter
    visible += [part for path in libraries for part in ("--ro-bind", path, path)]
    visible += ["--bind", str(shared), str(shared)] if shared else []
    scratch = ["--bind", str(shared)] if shared else ["--size", str(SCRATCH), "--tmpfs"]
    absent = [] if package else [
        "--tmpfs", str(PACKAGE), "--ro-bind", str(ABSENT), str(PACKAGE / "__init__.py"),
        "--remount-ro", str(PACKAGE)]
    bwrap, choom, prlimit, setpriv = (shutil.which(name) or name for name in PROGRAMS)
    ordinary = [  # first a world of these files alone, since some only root may reach
        bwrap, "--die-with-parent", "--dev", "/dev", "--bind", "/proc", "/proc", "--tmpfs", "/tmp",
        *visible, "--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID",
        "env", "-i", setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
    ] if os.geteuid() == 0 else []
    return [  # with nothing in the environment of the first process inside, which shows it
        "env", "-i", choom, "-n", "1000", "--",  # the first to go where the memory runs out
        prlimit, f"--as={MEMORY}", f"--fsize={FILE}", "--core=0", "--", *ordinary,
        bwrap, "--unshare-all", "--unshare-user", *no_more_users(bwrap), "--die-with-parent",
        "--new-session", "--cap-drop", "ALL", "--dev", "/dev", "--proc", "/proc",
        *scratch, "/tmp", *visible, *absent,  # in this order: they may lie below /tmp
        "--remount-ro", "/dev", "--remount-ro", "/proc", "--remount-ro", "/",
        "--dir", "/tmp/work", "--chdir", "/tmp/work", "--", "env", "-i", "HOME=/tmp/work",
        f"PYTHONPATH={PACKAGE.parent}", f"PATH={sys.prefix}/bin:/usr/bin:/bin", "TQDM_DISABLE=1",
        "OMP_NUM_THREADS=1",
        prlimit, f"--nproc={PROCESSES}", "--",  # here it leaves out what else the teacher runs
        *inside]


@functools.cache
def no_more_users(bwrap: str) -> list[str]:
    """Return what keeps code inside from becoming root of a world of its own."""
    known = subprocess.run([bwrap, "--help"], capture_output=True, text=True).stdout
    return ["--disable-userns"] if "--disable-userns" in known else []


def enter(folder: Path) -> None:
    """Give this process, and all that it starts, a `folder` in memory and one limit of memory.

    Only they see what is in the folder, and it goes when they do.
    """
    system, user, group = ctypes.CDLL(None, use_errno=True), os.geteuid(), os.getegid()
    wrong = system.unshare(MOUNTS | (USERS if user else 0))
    for file, text in {"setgroups": "deny", "uid_map": f"{user} {user} 1",
                       "gid_map": f"{group} {group} 1"}.items() if user else ():
        Path(f"/proc/self/{file}").write_text(text)
    size = f"size={SCRATCH},mode=700,uid={user or NOBODY},gid={group if user else NOBODY}"
    system.syscall(219 if os.uname().machine == "aarch64" else 250, 1, None)  # no keys of a login
    wrong = wrong or system.mount(b"none", b"/", None, SLAVES, None)
    if wrong or system.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, size.encode()):
        raise OSError(f"no temporary folder: {os.strerror(ctypes.get_errno())}")
    with suppress(OSError):
        cgroup = cgroup_of(os.getpid())
        cgroup.mkdir()
        for file in [file for file in CAPS if (cgroup / file).exists()]:  # in this order
            (cgroup / file).write_text(str(CAPS[file]))
        (cgroup / "cgroup.procs").write_text("0")


def cgroup_of(process: int) -> Path:
    """Return where a process's own cgroup may be made: below this one's (v1), or beside it."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    places = {kinds: place for _, kinds, place in (line.split(":", 2) for line in lines)}
    if "memory" in places:
        return Path(f"/sys/fs/cgroup/memory{places['memory']}/s3rec-{process}")
    return Path(f"/sys/fs/cgroup{places.get('', '')}").parent / f"s3rec-{process}"


def watch(process: int) -> None:
    """End what a process has started: the largest until the rest fit in memory, all if too busy."""
    used, spent = [], -20.0  # seconds of processor time
    with suppress(psutil.Error):
        parent = psutil.Process(process)
        for one in parent.children(recursive=True):
            with suppress(psutil.Error):
                used.append((one.memory_full_info().pss, one.pid, one))
                spent += sum(one.cpu_times()[:4])
        busy = spent > BUSY * (time.time() - parent.create_time())
        used.sort()
        while used and (busy or sum(size for size, *_ in used) > MEMORY):
            used.pop()[2].kill()


def leave(process: int) -> None:
    """Take away the cgroup of a process that is gone, once its sandbox is gone, too."""
    cgroup = cgroup_of(process)
    for _ in range(50):
        if cgroup.exists():
            with suppress(OSError):
                cgroup.rmdir()
            time.sleep(0.1)


def left_out() -> bool:
    """Say whether the teacher wants none, by UNSANDBOXED=1."""
    return os.environ.get("UNSANDBOXED") == "1"


def check() -> None:
    """Raise OSError, with what to do, if a sandbox is wanted and there can be none here."""
    if left_out():
        return
    if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
        raise OSError(f"what keeps students' code away from your files is missing here, "
                      f"{', '.join(missing)}: apt-get install bubblewrap util-linux")
    with tempfile.TemporaryDirectory(prefix="s3rec-") as folder:
        trial = (f"import os; from grading import sandbox as s; s.enter({folder!r}); "
                 f"os.execvp('env', s.command(['python', '-c', 'pass'], {folder!r}))")
        tried = subprocess.Popen([sys.executable, "-c", trial], stderr=subprocess.PIPE, text=True,
                                 cwd=Path(__file__).parents[1])
        *_, why = tried.communicate()[1].strip().split("\n")
        leave(tried.pid)
    if tried.returncode:
        raise OSError(f"the sandbox does not start here ({why}). On Ubuntu 24.04 allow it by sudo "
                      f"sysctl -w kernel.apparmor_restrict_unprivileged_userns=0. In a container, "
                      f"grade outside. UNSANDBOXED=1 lets a submission do here what you may")


class SandboxedKernelManager(AsyncKernelManager):
    """Starts kernels in the sandbox, and speaks to them through sockets of the file system."""

    transport = "ipc"
    folder, package = None, True  # as `command` knows them

    def format_kernel_cmd(self, extra_arguments=None) -> list[str]:
        """Return the kernel's usual command line, wrapped."""
        self.kernel_spec.interrupt_mode = "message"  # a signal would end the sandbox
        if os.geteuid() == 0:
            os.chown(self.connection_file, NOBODY, NOBODY, follow_symlinks=False)
        inside = command(super().format_kernel_cmd(extra_arguments), self.folder, self.package)
        return ["sh", "-c", 'exec "$@" >/dev/null 2>&1', "sh", *inside]  # no file of the teacher's


def kernel_manager(folder: Path, package: bool) -> type[AsyncKernelManager]:
    """Return what starts the kernels of a submission."""
    settings = dict(folder=folder, package=package, connection_file=Unicode(f"{folder}/k.json"))
    return AsyncKernelManager if left_out() else type("_", (SandboxedKernelManager,), settings)
