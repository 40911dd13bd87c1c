"""What tests read out of the Markdown of a skill: links, code blocks, command lines."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

import typer

FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
INLINE = re.compile(r"`(tao-run [^`\n]+)`")
NAMED = re.compile(r"tao-run( [a-z][a-z0-9_]*)+")
UsageError = typer.BadParameter.__mro__[1]  # typer carries its own click and does not export this name


@dataclass(frozen=True)
class Block:
    """A fenced block. `run`: tagged to be executed."""

    line: int  # 1-based line of the fence
    language: str
    run: bool
    text: str


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks in order."""
    found = []
    for match in FENCE.finditer(text):
        language, *tags = match["info"].split() or [""]
        found.append(Block(text.count("\n", 0, match.start()) + 1, language, "run" in tags, match["text"]))
    return found


def links(text: str) -> set[str]:
    """Return the relative targets of links outside code, without fragments."""
    targets = (match["target"].split("#")[0] for match in LINK.finditer(FENCE.sub("", text)))
    return {target for target in targets if target and "://" not in target}


def tao_run_lines(text: str) -> Iterator[str]:
    """Yield every `tao-run ...` command of a page, inline and in blocks, without redirections and comments.

    A command that a sentence only names, like `tao-run check`, is yielded with --help: it must exist, nothing else.
    """
    for match in INLINE.finditer(FENCE.sub("", text)):
        yield f"{match[1]} --help" if NAMED.fullmatch(match[1]) else match[1]
    for block in blocks(text):
        if block.language == "bash":
            for line in block.text.replace("\\\n", " ").splitlines():
                start = line.find("tao-run ")
                if start >= 0 and not line.lstrip().startswith("#"):
                    yield re.split(r"\s(?:[>|#]|&&)", line[start:])[0]


def check_command(line: str) -> str | None:
    """Return why the command line does not parse, None if it does. Nothing is run, no file is looked at."""
    from tao_runtime.cli.app import app

    words = shlex.split(line)[1:]
    command = typer.main.get_command(app)
    try:
        context = command.make_context("tao-run", words, resilient_parsing=False)
        while hasattr(command, "resolve_command"):
            name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
            context = command.make_context(name, words, parent=context)
    except typer.Exit:  # --help
        return None
    except UsageError as error:
        return f"{line}: {error.format_message()}"
    return None
