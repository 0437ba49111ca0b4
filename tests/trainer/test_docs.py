"""The blocks of docs/python.md, run one after the other as a reader would."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.trainer.data import make_dataset
from tests.trainer.processes import pretrain_words, run

ROOT = Path(__file__).parents[2]


def test_every_block_of_the_page_runs(tmp_path):
    demo = tmp_path / "out" / "demo"
    demo.mkdir(parents=True)
    url = make_dataset(demo / "data", groups=64, views=4, prompts=[f"prompt {g}" for g in range(64)])
    code, said = run(pretrain_words(url, demo / "run", images=32))
    assert code == 0, said
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), flags=re.DOTALL)
    assert len(blocks) > 6
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "own-run" / "encoder" / "model.safetensors").is_file()
