"""The bytes of a container do not depend on the process that writes it."""

import os
import subprocess
import sys

CODE = (
    "import hashlib; from alertprod.alerts.packet import container; "
    "print(hashlib.sha256(container([], {'visit': '1'})).hexdigest())"
)


def test_container_is_the_same_whatever_the_order_of_pythons_sets(root):
    found = set()
    for seed in ("1", "2", "3"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root / "scripts")}
        env["PYTHONWARNINGS"] = "ignore"
        done = subprocess.run(
            [sys.executable, "-c", CODE], env=env, capture_output=True, text=True, check=True
        )
        found.add(done.stdout)
    assert len(found) == 1
