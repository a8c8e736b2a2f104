"""A Dockerfile's instructions, and a builder that carries them out in plain folders.

The builder stands in for a Docker daemon: every stage is a root file system in a folder, RUN works
in it by `chroot`, COPY copies. Layers, the registry and the daemon's isolation are not there.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from string import Template


@dataclass
class Stage:
    """One FROM and what follows it."""

    base: str
    name: str | None
    instructions: list[tuple[str, str]] = field(default_factory=list)


def read(path: Path) -> list[Stage]:
    """The stages of a Dockerfile; comments dropped, continued lines joined."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    stages = []
    for line in filter(None, text.splitlines()):
        word, rest = line.split(maxsplit=1)
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            stages.append(Stage(base, name or None))
        else:
            stages[-1].instructions.append((word, rest))
    return stages


class Builder:
    """Builds stages in folders.

    Args:
        bases: Base image name to the folder of its root file system, which is not changed.
        context: The folder that COPY takes files from.
        scratch: Where the stages' folders go.
        skipped: Images of `COPY --from` that are not at hand; their files are left out.
        prepare: Called with a stage's folder before its first instruction.
        mounts: Folders of the host that RUN sees, target to source, as cache mounts would.
        environment: Variables of RUN beside those of ENV.
    """

    def __init__(
        self, bases, context, scratch, skipped=(), prepare=None, mounts=None, environment=None
    ):
        self._bases, self._context, self._scratch = bases, context, scratch
        self._skipped, self._prepare = skipped, prepare
        self._mounts, self._environment = mounts or {}, environment or {}
        self.left_out: list[str] = []
        self.built: dict[str, Path] = {}

    def build(self, stages: list[Stage]) -> tuple[Path, dict[str, str], str]:
        """Builds all stages.

        Returns:
            The last stage's folder, its variables and its user.
        """
        for number, stage in enumerate(stages):
            root = self._scratch / (stage.name or f"stage-{number}")
            subprocess.run(["cp", "-a", self._bases[stage.base], root], check=True)
            if self._prepare:
                self._prepare(root)
            self.built[stage.name or str(number)] = root
            environment, user, shell = (
                {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"},
                "0",
                ["/bin/sh", "-c"],
            )
            arguments: dict[str, str] = {}
            place = "/"
            for word, rest in stage.instructions:
                if word == "RUN":
                    self._run(root, shell, rest, environment, place)
                elif word == "COPY":
                    self._copy(root, rest, place)
                elif word == "ENV":
                    for pair in shlex.split(rest):
                        name, _, value = pair.partition("=")
                        environment[name] = Template(value).substitute(arguments | environment)
                elif word == "WORKDIR":
                    place = rest
                    (root / place.lstrip("/")).mkdir(parents=True, exist_ok=True)
                elif word == "SHELL":
                    shell = json.loads(rest)
                elif word == "USER":
                    user = rest
                elif word == "ARG":
                    name, _, default = rest.partition("=")
                    arguments[name] = default.strip('"')
                elif word not in ("ENTRYPOINT", "CMD"):
                    raise ValueError(f"{word} is not among the instructions that are run here")
        return root, environment, user

    def _run(self, root: Path, shell: list[str], rest: str, environment: dict, place: str) -> None:
        command = re.sub(r"^(--mount=\S+\s+)+", "", rest)
        inner = shlex.join([*shell, f"cd {place} && {command}"])
        ended = _chroot(
            root, f"chroot {root} {inner}", self._mounts, environment | self._environment
        )
        if ended.returncode:
            raise RuntimeError(f"RUN {command}\n{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}")

    def _copy(self, root: Path, rest: str, place: str) -> None:
        words = shlex.split(rest)
        origin = self._context
        if words[0].startswith("--from="):
            name = words.pop(0).removeprefix("--from=")
            if name in self._skipped:
                self.left_out.append(f"COPY --from={name}")
                return
            origin = self.built[name]
        *sources, target = words
        into = root / os.path.join(place, target).lstrip("/")
        for source in sources:
            path = origin / source.lstrip("/")
            if path.is_dir() and origin == self._context:
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(path, into, symlinks=True, dirs_exist_ok=True, ignore=ignored)
            elif path.is_dir():  # linked: gigabytes that no later step writes to
                shutil.copytree(
                    path, into, symlinks=True, dirs_exist_ok=True, copy_function=os.link
                )
            else:
                goal = into / path.name if target.endswith("/") else into
                goal.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, goal)


def run_in(root: Path, command: list[str], environment: dict[str, str], user: str, mounts=None):
    """Runs a command in a built image as its user, without the network; returns the process."""
    inner = shlex.join([shutil.which("chroot"), f"--userspec={user}:{user}", str(root), *command])
    return _chroot(root, inner, mounts or {}, environment, "--net")


def _chroot(root: Path, command: str, mounts: dict, environment: dict[str, str], *unshared: str):
    """Runs a command that changes its root, which has /proc, /dev and the mounts in it.

    In a mount namespace of its own: nothing stays mounted, whatever happens to the process.
    """
    binds = {"/proc": "/proc", "/dev": "/dev"} | mounts
    mounting = "".join(
        f"mkdir -p {root}{target} && mount --rbind {source} {root}{target} && "
        for target, source in binds.items()
    )
    script = ["/bin/sh", "-c", f"{mounting}exec {command}"]
    return subprocess.run(
        [shutil.which("unshare"), "--mount", *unshared, "--fork", *script],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
