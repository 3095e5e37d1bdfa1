"""`pytest --nbval` compares stored outputs: each run sees the demo set and the shipped classifier, and nothing else."""

import os
import tempfile

os.environ.pop("FRACTURE_DATA", None)
os.environ.pop("FRACTURE_ELSEWHERE", None)
os.environ["FRACTURE_SHIPPED"] = "1"
os.environ["FRACTURE_RUNS"] = tempfile.mkdtemp(prefix="fracture-runs-")
