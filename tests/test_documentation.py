"""The usage text, Options, the manual and README tell the same, and what they show is true.

Examples look like a terminal: `$ ` before each command, and below it what it prints.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, get_type_hints

import pytest
from docopt import docopt
from harness import Program, free_port

from pync import cli
from pync.combinations import EXCLUDES, EXCLUDES_ALONE, IMPLIES, NEEDS
from pync.options import Options, option_name
from pync.values import READERS

TOP = Path(__file__).parent.parent
MANUAL = TOP / "man" / "pync.1"
USAGE = cli.__doc__ or ""

# Fields that come from elsewhere than an option, and options that never become a field.
NOT_OPTIONS = {"host", "port", "ports", "path", "md5_key"}
ANSWERED = {"--help", "--version"}


class Row(NamedTuple):
    """One option as a text shows it; short and argument are "" where there is none."""

    group: str
    short: str
    long: str
    argument: str


USAGE_ROW = re.compile(
    r"  (?:-(?P<short>\w)(?P<first> [A-Z]+)?, )?--(?P<long>[a-z0-9-]+)(?P<argument> [A-Z]+)?"
    r"(?:  +\S.*)?"
)
MANUAL_ROW = re.compile(
    r"\.It (?:Fl (?P<short>\w)(?P<first> Ar [a-z]+)? , )?"
    r"Fl -(?P<long>[a-z0-9-]+)(?P<argument> Ar [a-z]+)?"
)


def usage_lines() -> list[str]:
    return [line for line in USAGE.splitlines() if re.match(r" *-", line)]


def usage_rows() -> list[Row]:
    return list(rows(USAGE, re.compile(r"([A-Z].*):"), USAGE_ROW))


def manual_rows() -> list[Row]:
    return list(rows(section("OPTIONS"), re.compile(r"\.Ss (.*)"), MANUAL_ROW))


def rows(text: str, heading: re.Pattern[str], row: re.Pattern[str]) -> Iterator[Row]:
    group = ""
    for line in text.splitlines():
        if match := heading.fullmatch(line):
            group = match[1]
        elif match := row.fullmatch(line):
            argument = argument_name(match["argument"])
            assert not match["short"] or argument_name(match["first"]) == argument, line
            yield Row(group, match["short"] or "", "--" + match["long"], argument)


def argument_name(text: str | None) -> str:
    return (text or "").removeprefix(" Ar").strip().lower()


def section(title: str) -> str:
    """The source of one section of the manual."""
    match = re.search(rf"^\.Sh {title}\n(.*?)(?=^\.Sh |\Z)", MANUAL.read_text(), re.M | re.S)
    assert match, f"the manual has no section {title}"
    return match[1]


# --- options ---


def test_each_option_line_of_the_usage_text_is_understood() -> None:
    """docopt needs two spaces between an option and its description: with one, the
    description's first word is the option's argument."""
    assert [line for line in usage_lines() if not USAGE_ROW.fullmatch(line)] == []
    assert len(usage_rows()) == len(usage_lines())


def test_the_usage_text_fits_a_terminal() -> None:
    assert [line for line in USAGE.splitlines() if len(line) > 80] == []


def test_docopt_reads_the_usage_text_as_people_do() -> None:
    read = docopt(USAGE, argv=[])
    takes_argument = {
        name: value is not False and name != "--verbose"
        for name, value in read.items()
        if name.startswith("--")
    }
    assert takes_argument == {row.long: bool(row.argument) for row in usage_rows()}


def test_usage_and_manual_have_the_same_options() -> None:
    """The same groups, in the same order, with the same names and arguments."""
    assert manual_rows() == usage_rows()


def test_usage_and_options_have_the_same_options() -> None:
    hints = get_type_hints(Options)
    fields = {
        option_name(field): hints[field] is not bool and field != "verbose"
        for field in Options._fields
        if field not in NOT_OPTIONS
    }
    assert fields == {
        row.long: bool(row.argument) for row in usage_rows() if row.long not in ANSWERED
    }


def test_the_tables_of_options_speak_of_options() -> None:
    rows = (*IMPLIES, *NEEDS, *EXCLUDES, *EXCLUDES_ALONE)
    named = {*READERS, *(field for row in rows for field in row)}
    assert named <= set(Options._fields)


def test_the_usage_text_says_the_defaults() -> None:
    read = docopt(USAGE, argv=[])
    assert {
        field: READERS[field](read[option_name(field)])
        for field in READERS
        if read[option_name(field)]
    } == {field: Options._field_defaults[field] for field in ("linger",)}


@pytest.mark.skipif(not shutil.which("mandoc"), reason="no mandoc")
def test_the_manual_is_sound() -> None:
    with Program("mandoc", "-Tlint", "-W", "warning", str(MANUAL)) as lint:
        assert lint.finish() == (0, b"", "")


# --- examples ---


class Example(NamedTuple):
    commands: list[str]
    prints: str


def manual_examples() -> list[Example]:
    blocks = re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed", section("EXAMPLES"), re.M | re.S)
    return [example(block.replace(r"\e", "\\")) for block in blocks if block.startswith("$ ")]


def readme_examples() -> list[Example]:
    blocks = re.findall(r"^```console\n(.*?)^```", (TOP / "README.md").read_text(), re.M | re.S)
    return [example(block) for block in blocks]


def example(block: str) -> Example:
    lines = block.splitlines(keepends=True)
    commands = [line.removeprefix("$ ").rstrip() for line in lines if line.startswith("$ ")]
    return Example(commands, "".join(line for line in lines if not line.startswith("$ ")))


# Listeners tell descriptor 9 too what they say, so that a script can wait for them to listen
# as a person at two terminals would.
PYNC = f"""#!/bin/bash
case $1 in
    -*l*) exec '{sys.executable}' -m pync -v "$@" 2> >(exec tee /dev/fd/9 >&2) 9>&- ;;
    *) exec '{sys.executable}' -m pync "$@" 9>&- ;;
esac
"""
PRELUDE = """
exec 9<>told
trap 'kill $(jobs -p) 2>/dev/null || :' EXIT
listening() {
    until read -r -u 9 line && echo "$line" >&2 && [[ $line == "Listening on "* ]]; do :; done
}
"""
LISTENER = re.compile(r"\bpync -\w*l.*&$")


def script(commands: list[str]) -> str:
    lines = [command + ("\nlistening" if LISTENER.search(command) else "") for command in commands]
    return PRELUDE + "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "shown",
    [
        *(pytest.param(shown, id=f"manual-{n}") for n, shown in enumerate(manual_examples(), 1)),
        *(pytest.param(shown, id=f"readme-{n}") for n, shown in enumerate(readme_examples(), 1)),
    ],
)
def test_an_example_does_what_it_shows(shown: Example, tmp_path: Path) -> None:
    wrapper = tmp_path / "bin" / "pync"
    wrapper.parent.mkdir()
    wrapper.write_text(PYNC)
    wrapper.chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    os.mkfifo(work / "told")
    text = script(shown.commands)
    for port in ("2389", "8000", "1080"):
        text = re.sub(rf"\b{port}\b", str(free_port()), text)
    with Program(
        "bash", "-euo", "pipefail", "-c", text,
        cwd=work,
        env={
            "PATH": f"{wrapper.parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(TOP),
        },
        start_new_session=True,
    ) as bash:  # fmt: skip
        try:
            result = bash.finish()
        except AssertionError:
            os.killpg(bash.pid, signal.SIGKILL)
            raise
    assert result.out.decode().replace("\r\n", "\n") == shown.prints, result.err
    assert result.status == 0, result.err


def test_there_are_examples() -> None:
    assert len(manual_examples()) > 5
    assert readme_examples()
