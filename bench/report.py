"""Markdown tables, and where they stand in a document."""

import os
import platform
import re
from pathlib import Path


def table(columns, rows):
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def insert(document, name, text):
    """Replaces what stands between the two markers of that name in a document."""
    document = Path(document)
    begin, end = (f"<!-- {name}: {edge} -->" for edge in ("begin", "end"))
    before, found, rest = document.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{document} has no place for the tables: add the lines {begin} and {end}")
    document.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def machine():
    """Cores and processor, as in `2 cores of an Intel Xeon with AVX-512`."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.exists() else ""
    name = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    name = re.sub(r"\((R|TM|r|tm)\)", "", name[1]) if name else platform.machine()
    widest = next((title for flag, title in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in text), None)
    cores = len(os.sched_getaffinity(0))
    said = f"{cores} core{'s' if cores > 1 else ''}, {' '.join(name.split())}"
    return f"{said} with {widest}" if widest else said
