import json

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from torch import from_numpy

from manifests.dataset import open_dataset
from manifests.errors import UserError
from tests.trainer.data import make_dataset
from trainer.bench_data import bench_data
from trainer.captions import ByteTokenizer, captions, open_tokenizer
from trainer.config import load_config
from trainer.evaluation.ridge import RIDGE, ridge
from trainer.objective_config import TextConfig


def test_bytes_stand_between_a_start_and_an_end_and_long_texts_are_cut():
    rows = ByteTokenizer().tokens(["ab", "é", "", "abcdefgh"], 6)
    assert rows.tolist() == [
        [257, 98, 99, 258, 0, 0],
        [257, 0xC3 + 1, 0xA9 + 1, 258, 0, 0],
        [257, 258, 0, 0, 0, 0],
        [257, 98, 99, 100, 101, 258],
    ]


def tokenizer_file(path):
    words = {"a": 0, "cat": 1, "dog": 2, "<unk>": 3, "<end>": 4}
    model = {"type": "WordLevel", "vocab": words, "unk_token": "<unk>"}
    value = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None}
    value |= {"pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None, "model": model}
    path.write_text(json.dumps(value))
    return path


def test_a_tokenizer_file_is_read_and_its_last_token_ends_every_row(tmp_path):
    found = open_tokenizer(TextConfig(tokenizer=str(tokenizer_file(tmp_path / "tokenizer.json"))))
    assert found.vocabulary == 5
    assert found.tokens(["a cat", "dog dog dog dog dog bird"], 4).tolist() == [[0, 1, 4, 0], [2, 2, 2, 4]]


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_tokenizer_file_that_is_none_is_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "t.json").write_text(content)
    with pytest.raises(UserError, match=r"objective.text.tokenizer: .*t.json (cannot be read|is no tokenizer.json)"):
        open_tokenizer(TextConfig(tokenizer=str(tmp_path / "t.json")))


class Counting(ByteTokenizer):
    calls = 0

    def tokens(self, texts, context):
        self.calls += 1
        if self.calls == 1:
            raise OSError("killed")
        return super().tokens(texts, context)


def test_captions_are_tokenised_once_whole_or_not_at_all(tmp_path):
    prompts = [f"p{group}" for group in range(9)]
    dataset = open_dataset(make_dataset(tmp_path / "set", groups=9, views=2, prompts=prompts))
    tokenizer, folder = Counting(), tmp_path / "tokens"
    with pytest.raises(OSError, match="killed"):
        captions(dataset, tokenizer, 8, folder)
    assert not list(folder.glob("tokens-*"))
    first = captions(dataset, tokenizer, 8, folder)
    assert captions(dataset, tokenizer, 8, folder).tolist() == first.tolist()
    assert tokenizer.calls == 2
    assert [bytes(row[1:3] - 1).replace(b"\0", b"").decode() for row in np.asarray(first)] == prompts
    assert captions(dataset, tokenizer, 5, folder).shape == (9, 5)  # another length is another file
    assert len(list(folder.iterdir())) == 2


def test_a_group_without_a_caption_is_named(tmp_path):
    dataset = open_dataset(make_dataset(tmp_path / "set", groups=3, prompts=["a", "", "c"]))
    with pytest.raises(UserError, match="has no caption; this objective reads captions"):
        captions(dataset, ByteTokenizer(), 8, tmp_path / "tokens")


def test_the_ridge_probe_is_scikit_learns():
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 3, 90)
    features = draw.normal(size=(90, 8)) * 3 + labels[:, None] * draw.normal(size=8)
    queries = draw.normal(size=(40, 8)) * 3 + 1
    mean, std = features.mean(axis=0), features.std(axis=0, ddof=1)
    fitted = Ridge(alpha=RIDGE * 90).fit((features - mean) / std, 2.0 * np.eye(3)[labels] - 1)
    wanted = fitted.predict((queries - mean) / std).argmax(axis=1)
    assert ridge(from_numpy(features), from_numpy(labels), from_numpy(queries), 3).tolist() == wanted.tolist()


def test_the_loader_is_measured_beside_its_ceiling(tmp_path):
    url = make_dataset(tmp_path / "set", groups=24, views=2)
    config = load_config("stablerep", ["data.views=2", "batch_images=16"])
    rates = bench_data(config, [url], 32)
    assert rates.loader > 0
    assert rates.fraction == rates.loader / rates.decoding
