"""Working memory is kept."""

import json
import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import json, resource
from synergy.allocator import keep_freed_memory
kept = keep_freed_memory()
faults = []
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = bytearray(b"x") * 400_000_000
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    del block
print(json.dumps([kept, *faults]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")
@pytest.mark.parametrize("settings", [{}, {"MALLOC_ARENA_MAX": "3"}])
def test_freed_memory_is_kept_unless_the_environment_says_how(settings):
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=plain | settings, capture_output=True, text=True, check=True
    )
    kept, first, second = json.loads(done.stdout)
    assert kept == (not settings)
    assert (second < 0.01 * first) == kept
