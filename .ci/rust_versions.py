"""Compares the rust-version of every crate that a published package compiles with its own.

  cargo metadata --format-version 1 --all-features --locked | python3 .ci/rust_versions.py

Dev-dependencies do not count: users never compile them. Ends with 1 if a crate wants more.
"""

import json
import sys

metadata = json.load(sys.stdin)
packages = {package["id"]: package for package in metadata["packages"]}
needs = {node["id"]: node["deps"] for node in metadata["resolve"]["nodes"]}
members = [packages[member] for member in metadata["workspace_members"]]


def number(version):
    return tuple(int(part) for part in version.split(".")[:2])


def compiled(package):
    """The identifiers of the package and of all that it needs to be built, on any platform."""
    found, waiting = set(), [package["id"]]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += [need["pkg"] for need in needs[one]
                        if any(kind["kind"] != "dev" for kind in need["dep_kinds"])]
    return found


wrong = 0
# An empty list says `publish = false`.
published = [member for member in members if member["publish"] != []]
if not published:
    sys.exit("no package is published: the check has no subject")
for package in published:
    limit = package["rust_version"]
    crates = [packages[one] for one in compiled(package)]
    for crate in crates:
        wanted = crate["rust_version"]
        if wanted and number(wanted) > number(limit):
            print(f"{package['name']} promises Rust {limit}; {crate['name']} {crate['version']} wants {wanted}")
            wrong += 1
    print(f"{package['name']}: {len(crates)} crates, Rust {limit}: {wrong or 'none'} want more")
sys.exit(1 if wrong else 0)
