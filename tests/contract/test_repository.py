"""The files that GitHub reads: valid by their schemas, and naming targets and files that exist."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
SCHEMAS = {
    "github-workflows": WORKFLOWS,
    "dependabot": [GITHUB / "dependabot.yml"],
    "github-issue-config": [GITHUB / "ISSUE_TEMPLATE" / "config.yml"],
    "github-issue-forms": [GITHUB / "ISSUE_TEMPLATE" / f"{name}.yml" for name in ("bug", "feature")],
}


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_files_are_valid(schema: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    done = subprocess.run([*command, *SCHEMAS[schema]], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def steps(workflow: Path) -> list[dict[str, Any]]:
    """The steps of all jobs, with a job's matrix of targets filled in."""
    found = []
    for job in yaml.safe_load(workflow.read_text("utf-8"))["jobs"].values():
        targets = job.get("strategy", {}).get("matrix", {}).get("target", [])
        for step in job.get("steps", []):
            command = step.get("run", "")
            filled = [command.replace("${{ matrix.target }}", target) for target in targets] or [command]
            found += [{**step, "run": each} for each in filled]
    return found


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_calls_targets_that_exist(workflow: Path) -> None:
    called = {name for step in steps(workflow) for name in re.findall(r"^make ([\w-]+)", step["run"])}
    assert called
    for target in called:
        done = subprocess.run(
            ["make", "--dry-run", "--question", target],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "No rule" not in done.stderr, done.stderr


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_every_file_in_the_tree_exists(document: str) -> None:
    """Names stand before two spaces and a description; what is indented below a folder is in it."""
    blocks = re.findall(r"```text\n(.*?)```", (ROOT / document).read_text("utf-8"), re.DOTALL)
    trees = [block for block in blocks if "_export/" in block or "_client/" in block]
    assert any("export/qwen3_export/" in tree for tree in trees)
    folders: list[tuple[int, Path]] = []
    for line in (line for tree in trees for line in tree.splitlines()):
        indent = len(line) - len(line.lstrip())
        if indent > 20:  # a description that goes on
            continue
        folders = [(depth, folder) for depth, folder in folders if depth < indent]
        words = re.split(r" {2,}", line.strip())
        parent = folders[-1][1] if folders else ROOT
        for name in words[:-1] or words:
            assert (parent / name).exists(), parent / name
        folders.append((indent, parent / words[0]))


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_every_link_leads_to_a_file_and_a_heading(document: str) -> None:
    """`make docs` checks the pages in docs/ only."""
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", (ROOT / document).read_text("utf-8")):
        file, _, anchor = link.partition("#")
        path = ROOT / (file or document)
        assert path.is_file(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.M)
            anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in anchors, link
