"""What compare_studies.py sets side by side, from files as the measurements write them."""
import json
import re

import pytest
from compare_studies import compare

DEVICE = "NVIDIA H200"
PEER = "pytorch-eager 2.11.0"


def line(case, metric, value, device=DEVICE, **more):
    return json.dumps({"bench": "peers", "case": case, "metric": metric, "value": value, "device": device, **more})


@pytest.fixture
def peers(tmp_path):
    path = tmp_path / "peers.jsonl"
    path.write_text("\n".join([
        line("layer_fp32", "step_ms", 20.0, peer=PEER), line("layer_bf16", "step_ms", 5.0, peer=PEER),
        line("layer_fp32", "peak_gib", 2.0, peer=PEER), line("layer_bf16", "peak_gib", 1.0, peer=PEER),
        line("layer_fp32", "step_ms", 18.0, beside=PEER), line("layer_bf16", "step_ms", 3.0, beside=PEER),
        line("layer_bf16", "step_ms", 4.0, beside=PEER), line("layer_bf16", "step_ms", 40.0, beside=PEER),
        line("layer_bf16", "peer_over_ours", 1.2, peer=PEER), line("tiny_bf16", "step_ms", 1.0, peer=PEER)]))
    return path


def study(tmp_path, device=DEVICE):
    path = tmp_path / "layer_precisions.json"
    path.write_text(json.dumps({"device": device, "precision_comparison": {"precisions": [
        {"precision": "FP32", "median_seconds": 0.03, "speedup": 1, "peak_memory_bytes": str(2**31)},
        {"precision": "BF16", "median_seconds": 0.01, "speedup": 2.9, "speedup_low": 2.5, "speedup_high": 3.1,
         "peak_memory_bytes": str(2**30)},
        {"precision": "TF32", "note": "the device lacks it"}]}}))
    return path


def rows(text):
    """Cells by (precision, way)."""
    cells = [re.split(r" {2,}", row) for row in text.splitlines() if "  " in row]
    return {(row[0], row[1]): row[2:] for row in cells}


def test_each_precision_stands_against_fp32_of_its_own_way(peers):
    found = rows(compare(peers, []))
    assert found["BF16", "recorded"] == ["4.00", "4.50", "-", "-"]  # the median of three
    assert found["BF16", "PyTorch eager"] == ["5.00", "4.00", "1.00", "0.50"]
    assert found["FP32", "PyTorch eager"] == ["20.00", "1.00", "2.00", "1.00"]


def test_what_was_not_measured_has_no_row(peers):
    assert not [key for key in rows(compare(peers, [])) if key[0] == "FP16"]


def test_a_work_without_fp32_has_no_table(peers):
    assert "==== tiny" not in compare(peers, [])


def test_a_study_has_its_own_speedup_and_interval(peers, tmp_path):
    found = rows(compare(peers, [study(tmp_path)]))
    assert found["BF16", "study"] == ["10.00", "2.90 [2.50, 3.10]", "1.00", "0.50"]
    assert ("TF32", "study") not in found


def test_two_devices_are_not_set_side_by_side(peers, tmp_path):
    with pytest.raises(SystemExit, match="measure both on one device"):
        compare(peers, [study(tmp_path, "NVIDIA H100 80GB HBM3")])
