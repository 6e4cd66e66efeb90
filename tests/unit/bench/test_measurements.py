"""The page of measurements, from what the slow tier keeps."""

from bench.measurements import page


def test_each_figure_stands_beside_its_bound() -> None:
    rows = [["export fp32, seconds", "7.9", ""], ["int8: smallest cosine", "0.99842", ">= 0.998"]]
    written = page({"machine": "one, 2 cores", "versions": {"Python": "3.11.7", "onnx": "1.23.2"}, "rows": rows})
    assert "Machine: one, 2 cores.\nVersions: Python 3.11.7, onnx 1.23.2.\n" in written
    assert "| export fp32, seconds | 7.9 |  |\n| int8: smallest cosine | 0.99842 | >= 0.998 |\n" in written
