#!/usr/bin/env python3
"""Repacks hpack-test-case into stories.txt.gz: repack.py <folder of the encoders' folders> <out>.

Text, one record a line, in the order a reader needs them:
  e <encoder>             names an encoder; they are numbered from 0 as they come (not raw-data)
  s <story>               begins a story: each encoder starts a new table
  c                       begins a case, whose fields follow, then what each encoder sent
  f <name> TAB <value>    a field
  t <encoder> <size>      the encoder's table size, acknowledged just before this case
  w <encoders> <block>    the block these encoders (comma-separated numbers) sent for the case;
                          bytes other than visible ASCII, and %, are % and two hexadecimal digits
"""
import gzip, json, pathlib, sys

root, out = pathlib.Path(sys.argv[1]), sys.argv[2]
encoders = sorted(d.name for d in root.iterdir() if d.is_dir() and d.name != "raw-data")
lines = [f"e {name}" for name in encoders]
for raw in sorted((root / "raw-data").glob("story_*.json")):
    wanted = json.loads(raw.read_text())["cases"]
    stories = [
        json.loads(path.read_text())["cases"] if (path := root / name / raw.name).exists() else None
        for name in encoders
    ]
    lines.append(f"s {raw.stem}")
    for at, case in enumerate(wanted):
        lines.append("c")
        for field in case["headers"]:
            [(name, value)] = field.items()
            assert not set("\t\n\r") & set(name + value)
            lines.append(f"f {name}\t{value}")
        blocks = {}
        for number, story in enumerate(stories):
            if story is None:
                continue
            assert len(story) == len(wanted) and story[at]["headers"] == case["headers"]
            if (size := story[at].get("header_table_size")) is not None:
                lines.append(f"t {number} {size}")
            blocks.setdefault(story[at]["wire"], []).append(str(number))
        for wire, numbers in blocks.items():
            block = bytes.fromhex(wire)
            text = "".join(
                chr(o) if 0x20 < o < 0x7F and o != 0x25 else f"%{o:02x}" for o in block
            )
            lines.append(f"w {','.join(numbers)} {text}")
with open(out, "wb") as file, gzip.GzipFile("", "wb", 9, file, 0) as packed:
    packed.write("\n".join(lines).encode() + b"\n")
