"""Slurm's programs as shell scripts on PATH: they say what a test tells them to, and keep what they were asked."""

import os
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("sbatch", "srun", "squeue", "sacct", "scancel", "scontrol", "sinfo")
NOT_CONFIGURED = "scontrol: fatal: Could not establish a configuration source"
SINFO = """\
cpu*|up|2-00:00:00|1-infinite|4|16|65536|(null)|(null)
gpu|up|1-00:00:00|1-2|2|32|131072|gpu:a100:4|a100
"""
NAMED_AFTER = {"squeue": 3, "sacct": 2}
"""Program -> how many fields stand before a job's name."""
ANSWER = """\
#!/bin/sh
printf '%s' "{name}" >> "{folder}/calls"
case "{name} $*" in sinfo*--noconvert*) ;; sinfo*) echo 'big|up|infinite|1-1K|1K|16|65536|(null)|(null)'; exit 0 ;; esac
for one in "$@"; do printf ' %s' "$one" >> "{folder}/calls"; done
echo >> "{folder}/calls"
answer="{folder}/{name}"
[ -e "$answer-$1-$2.code" ] && answer="$answer-$1-$2"
[ -e "$answer.err" ] && cat "$answer.err" >&2
[ -e "$answer.out" ] && cat "$answer.out"
[ -e "$answer.code" ] && exit "$(cat "$answer.code")"
exit 0
"""
SBATCH = """\
#!/bin/bash
[ -e "{folder}/sbatch.err" ] && {{ cat "{folder}/sbatch.err" >&2; exit 1; }}
number=$(( $(cat "{folder}/number") + 1 ))
echo "$number" > "{folder}/number"
[ -e "{folder}/stop-$number" ] && {{ kill -"$(cat "{folder}/stop-$number")" "$PPID"; kill -INT $$; }}
cp "$1" "{folder}/script-$number"
env | grep -E '^(SBATCH|SLURM|SUBMITIT|SRUN|PMI)' > "{folder}/variables-$number"
umask > "{folder}/umask-$number"
echo "Submitted batch job $number"
"""


@dataclass(frozen=True)
class FakeSlurm:
    """A cluster of scripts; `folder` holds them and what they say."""

    folder: Path

    def say(self, program, text="", code=0, error=""):
        """Let a program print and end so; "scontrol show job" names one that differs by its first words.

        A line of the queue or the accounts that names no job is of one of ours.
        """
        if program in NAMED_AFTER:
            named = NAMED_AFTER[program]
            text = "".join(f"{line}{'' if line.count('|') >= named else '|hipseg-job'}\n" for line in text.splitlines())
        name = "-".join(program.split()) + "-" * (program == "scontrol ping")
        for suffix, value in (("out", text), ("err", error), ("code", str(code))):
            path = self.folder / f"{name}.{suffix}"
            path.write_text(value) if value else path.unlink(missing_ok=True)

    def refuse(self, error):
        """Let sbatch refuse."""
        (self.folder / "sbatch.err").write_text(error)

    def stop_while_submitting(self, number, name):
        """Let a signal come while sbatch works, and an interrupt to sbatch, too, as from a terminal."""
        (self.folder / f"stop-{number}").write_text(name)

    @property
    def calls(self):
        """Every command line but sbatch's."""
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def script(self, number):
        return (self.folder / f"script-{number}").read_text()

    def variables(self, number):
        return (self.folder / f"variables-{number}").read_text()


def build_slurm(folder: Path, monkeypatch) -> FakeSlurm:
    """Put a cluster of scripts in front of PATH."""
    programs, said = folder / "bin", folder / "said"
    programs.mkdir()
    said.mkdir()
    for name in PROGRAMS:
        text = (SBATCH if name == "sbatch" else ANSWER).format(name=name, folder=said)
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (said / "number").write_text("100")
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    fake = FakeSlurm(said)
    fake.say("scontrol ping", "Slurmctld(primary) at head is UP\n")
    fake.say("scontrol show config", "ClusterName             = fake\nMaxArraySize            = 1001\n")
    fake.say("sinfo", SINFO)
    return fake
