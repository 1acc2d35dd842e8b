"""The contexts that are built: made here, the same for every tool, never seen before by any.

`nonce` is what makes a cold build cold: it is part of every command or of every file, so that no cache can know them.
"""

import os
import random
import shutil
from pathlib import Path

_TEXT = random.Random(4).randbytes(48 * 1024).hex().encode()


def small_files(directory, count, nonce):
    """`count` files, a hundred a folder, 100 bytes to 5.5 KiB, 2.8 KiB on average."""
    sizes = random.Random(count)
    for folder in range(0, count, 100):
        path = Path(directory) / f"folder-{folder // 100:04}"
        path.mkdir(parents=True)
        for number in range(folder, min(folder + 100, count)):
            start, size = number * 31 % 65536, sizes.randint(100, 5600)
            (path / f"file-{number:06}.txt").write_bytes(f"{nonce} {number}\n".encode() + _TEXT[start : start + size])


def change_one(directory, count, nonce):
    """Gives one of the small files, in the middle, other bytes of the same length."""
    number = count // 2
    path = Path(directory) / f"folder-{number // 100:04}" / f"file-{number:06}.txt"
    length = path.stat().st_size
    path.write_bytes((f"{nonce} {number} changed\n".encode() + path.read_bytes())[:length])


def real_files(directory, total):
    """Copies of this machine's /usr, in the order of their names, `total` bytes: programs, archives, texts."""
    left, round_ = total, 0
    while left > 0:
        before = left
        for folder in ("bin", "lib", "share"):
            for here, folders, files in os.walk(f"/usr/{folder}"):
                folders.sort()
                for name in sorted(files):
                    source = os.path.join(here, name)
                    if left <= 0:
                        return
                    if os.path.islink(source) or not os.path.isfile(source):
                        continue
                    size = os.path.getsize(source)
                    if not 0 < size <= left:
                        # The last file is cut, so that the sum is exact.
                        if size == 0 or left > 1 << 20:
                            continue
                    target = Path(directory) / str(round_) / source[1:]
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, target)
                    if size > left:
                        os.truncate(target, left)
                    left -= min(size, left)
        round_ += 1
        if left == before:
            raise RuntimeError("/usr has no files to make a layer from")


def multi_stage(directory):
    """A small program's context and its Dockerfile: two stages, ten instructions. Returns the Dockerfile's text."""
    source = Path(directory) / "src"
    source.mkdir(parents=True)
    for number in range(20):
        (source / f"part-{number}.c").write_bytes(_TEXT[number * 1000 : number * 1000 + 2000])
    (Path(directory) / "modules").write_text("none\n")
    return """FROM localhost/bench-base AS build
WORKDIR /src
COPY modules .
RUN cat modules > /fetched
COPY src ./src
RUN cat src/* > /program
FROM localhost/bench-base
ENV MODE=production
COPY --from=build /program /usr/bin/program
CMD ["/usr/bin/program"]
"""


def commands(count, nonce):
    """A Dockerfile of `count` steps that do nothing. Each is worded differently, so that none can stand for another."""
    steps = "".join(f"RUN true {nonce} {number}\n" for number in range(count))
    return f"FROM localhost/bench-base\n{steps}"


def sleepers(count, nonce):
    """A Dockerfile of `count` stages that wait for a second, and one that copies from each."""
    stages = "".join(
        f"FROM localhost/bench-base AS stage-{number}\nRUN sleep 1 && echo {nonce} {number} > /result-{number}\n"
        for number in range(count)
    )
    copies = "".join(f"COPY --from=stage-{number} /result-{number} /\n" for number in range(count))
    return f"{stages}FROM localhost/bench-base\n{copies}"
