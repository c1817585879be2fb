"""./lethe, run for real on a made-up system: no network, and a Python that only plays the part.

The made-up system is a folder of programs that is the whole PATH. Its `python3` writes down how it
is called and makes environments whose `python` is itself.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
TOOLS = [
    "sh",
    "cat",
    "cksum",
    "cut",
    "dirname",
    "flock",
    "grep",
    "id",
    "mkdir",
    "readlink",
    "rm",
    "ln",
    "tail",
]

PYTHON = r"""#!/bin/sh
printf '%s\n' "$*" | tr '\n' ' ' >>"$CALLS"
echo >>"$CALLS"
case "$*" in
*libcamera*) exit "${LIBCAMERA:-1}" ;;
*Python.h*) exit "${HEADERS:-1}" ;;
-c*) exit "${SUITABLE:-0}" ;;
-V) echo "Python 3.12.0" ;;
"-m venv"*)
    for folder; do :; done
    mkdir -p "$folder/bin"
    ln -s "$(readlink -f "$0")" "$folder/bin/python"
    ;;
*"-m pip"*hnsw.txt*) exit "${HNSWLIB:-0}" ;;
*"-m pip"*)
    echo "Ignoring colorama: markers don't match your environment"
    echo "Collecting numpy==2.4.6 (from -r /some where/device.txt (line 1))"
    echo "${PIP_SAYS:-Successfully installed}"
    exit "${PIP:-0}"
    ;;
*cli.main*)
    shift 3
    printf 'ran in %s:' "$PWD"
    printf ' <%s>' "$@"
    exit "${EXIT:-0}"
    ;;
esac
"""

APT_GET = r"""#!/bin/sh
echo "apt-get $*" >>"$CALLS"
case "$*" in install*) ln -s "$PYTHON" "${0%/*}/python3" ;; esac
"""


@dataclass
class System:
    """A made-up system with a copy of the project's script and lock."""

    root: Path
    bin: Path
    calls: Path
    python: Path

    def add(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def start(self, *args: str, script: Path | None = None, **env: str) -> subprocess.Popen[str]:
        basis = {"PATH": str(self.bin), "HOME": str(self.bin.parent / "home")}
        basis |= {"CALLS": str(self.calls), "PYTHON": str(self.python)}
        return subprocess.Popen(
            [script or self.root / "lethe", *args],
            cwd="/",
            env=basis | env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def lethe(self, *args: str, script: Path | None = None, **env: str) -> tuple[int, str, str]:
        """Run ./lethe from another folder; return exit code, stdout, stderr."""
        process = self.start(*args, script=script, **env)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def called(self) -> str:
        """Return the calls since the last time, a line each."""
        text = self.calls.read_text() if self.calls.exists() else ""
        self.calls.unlink(missing_ok=True)
        return text


@pytest.fixture
def bare(tmp_path: Path) -> System:
    """A system without Python and without apt-get."""
    root = tmp_path / "a camera's folder"
    (root / "requirements").mkdir(parents=True)
    shutil.copy(PROJECT / "lethe", root)
    for name in ("device", "tflite-runtime", "hnsw", "hnsw-build"):
        shutil.copy(PROJECT / "requirements" / f"{name}.txt", root / "requirements")
    programs = tmp_path / "bin"
    programs.mkdir()
    for tool in [*TOOLS, "tr"]:
        found = shutil.which(tool)
        if found is None:
            pytest.skip(f"{tool} is not on this system")
        (programs / tool).symlink_to(found)
    python = tmp_path / "python3.12"
    python.write_text(PYTHON)
    python.chmod(0o755)
    return System(root, programs, tmp_path / "calls", python)


@pytest.fixture
def system(bare: System) -> System:
    """A system with Python."""
    (bare.bin / "python3").symlink_to(bare.python)
    return bare


@pytest.fixture
def made(system: System) -> System:
    """A system on which the set-up has run."""
    assert system.lethe()[0] == 0
    system.called()
    return system


def test_first_use_makes_the_environment_and_runs_the_command(system: System) -> None:
    code, out, err = system.lethe("run", "--config", "my file")
    assert (code, out) == (0, "ran in /: <run> <--config> <my file>")
    assert "1/" in err
    assert "numpy==2.4.6" in err
    calls = system.called()
    assert f"-m venv {system.root}/.venv" in calls
    assert "--require-hashes --only-binary :all: -r" in calls


def test_later_calls_start_nothing_but_the_command(made: System) -> None:
    assert made.lethe("doctor") == (0, "ran in /: <doctor>", "")
    assert made.called() == "-P -m cli.main doctor \n"


def test_exit_code_is_the_commands(made: System) -> None:
    assert made.lethe(EXIT="3")[0] == 3


def test_works_through_a_link(made: System, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "lethe"
    link.symlink_to(Path("..") / made.root.name / "lethe")
    assert made.lethe("doctor", script=link)[0] == 0
    assert "pip" not in made.called()


def test_a_changed_lock_updates_in_place(made: System) -> None:
    with (made.root / "requirements" / "device.txt").open("a") as lock:
        lock.write("# changed\n")
    code, _, err = made.lethe()
    assert code == 0
    assert "locked packages have changed" in err
    calls = made.called()
    assert "-m pip install" in calls
    assert "-m venv" not in calls


def test_another_python_behind_the_link_makes_it_anew(made: System) -> None:
    upgraded = made.python.with_name("python3.13")
    made.python.rename(upgraded)
    for link in (made.bin / "python3", made.root / ".venv/bin/python"):
        link.unlink()
        link.symlink_to(upgraded)
    assert "making it anew" in made.lethe()[2]
    assert "-m venv" in made.called()


def test_a_python_that_is_gone_makes_it_anew(made: System) -> None:
    (made.root / ".venv/bin/python").unlink()
    assert "making it anew" in made.lethe()[2]


def test_a_half_made_environment_is_made_anew(system: System) -> None:
    (system.root / ".venv/bin").mkdir(parents=True)
    (system.root / ".venv/leftover").touch()
    code, _, err = system.lethe()
    assert code == 0
    assert "incomplete" in err
    assert not (system.root / ".venv/leftover").exists()


def test_two_at_once_set_up_once(system: System) -> None:
    both = [system.start("doctor") for _ in range(2)]
    assert [p.communicate(timeout=60)[0] for p in both] == ["ran in /: <doctor>"] * 2
    assert system.called().count("-m venv") == 1


def test_no_network_is_said_and_tried_again_next_time(system: System) -> None:
    says = "WARNING: Retrying (Retry(total=4)) after connection broken"
    code, out, err = system.lethe(PIP="1", PIP_SAYS=says)
    assert (code, out) == (69, "")
    assert "package index could not be reached" in err
    assert system.lethe()[0] == 0


def test_another_failure_of_pip_names_the_log(system: System) -> None:
    code, _, err = system.lethe(PIP="1", PIP_SAYS="ERROR: THESE PACKAGES DO NOT MATCH THE HASHES")
    assert code == 69
    assert "DO NOT MATCH THE HASHES" in err
    assert "setup.log says why" in err


def test_without_python_or_apt_it_says_what_is_missing(bare: System) -> None:
    code, out, err = bare.lethe()
    assert (code, out) == (69, "")
    assert "Python 3.11 to 3.13 with the venv and ensurepip modules was not found" in err


def test_a_user_is_told_the_command_to_install_python(bare: System) -> None:
    bare.add("apt-get", APT_GET)
    (bare.bin / "id").unlink()
    bare.add("id", "#!/bin/sh\necho 1000\n")
    code, _, err = bare.lethe()
    assert code == 69
    assert "sudo apt-get install -y --no-install-recommends python3 python3-venv" in err
    assert bare.called() == ""


def test_root_gets_python_installed(bare: System) -> None:
    bare.add("apt-get", APT_GET)
    (bare.bin / "id").unlink()
    bare.add("id", "#!/bin/sh\necho 0\n")
    code, out, err = bare.lethe("doctor")
    assert (code, out) == (0, "ran in /: <doctor>")
    assert "installing what is missing: apt-get install" in err
    assert bare.called().startswith("apt-get -qq update\napt-get install -y ")


def test_an_unsuitable_python_is_not_used(system: System) -> None:
    assert system.lethe(SUITABLE="1")[0] == 69


def test_the_systems_packages_are_seen_where_libcamera_is(system: System) -> None:
    system.lethe(LIBCAMERA="0")
    assert "-m venv --system-site-packages" in system.called()


@pytest.mark.parametrize(("result", "said"), [("0", ""), ("1", "hnswlib could not be built")])
def test_hnswlib_is_built_where_a_compiler_is_and_may_fail(
    system: System, result: str, said: str
) -> None:
    system.add("g++", "#!/bin/sh\n")
    code, _, err = system.lethe(HEADERS="0", HNSWLIB=result)
    assert code == 0
    assert said in err
    assert "--no-build-isolation" in system.called()


def test_the_other_lock_has_its_own_folder(system: System) -> None:
    assert system.lethe(LETHE_LOCK="tflite-runtime")[0] == 0
    assert (system.root / ".venv-tflite-runtime").is_dir()
    assert not (system.root / ".venv").exists()


def test_an_unknown_lock_is_refused(system: System) -> None:
    code, _, err = system.lethe(LETHE_LOCK="../../etc")
    assert code == 64
    assert "unknown" in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_a_folder_that_cannot_be_written_is_said(system: System) -> None:
    system.root.chmod(0o500)
    assert system.lethe()[0] == 73


@pytest.mark.parametrize("script", ["lethe", "requirements/lock.sh", ".ci/run"])
def test_shellcheck_finds_nothing(script: str) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed (Debian package shellcheck)")
    result = subprocess.run(
        ["shellcheck", PROJECT / script], capture_output=True, text=True, check=False
    )
    assert result.stdout == ""
