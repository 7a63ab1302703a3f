"""The notebook runs from start to end on the embedded model."""

from __future__ import annotations

from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parent.parent / "docs" / "quickstart.ipynb"


@pytest.mark.model
@pytest.mark.filterwarnings("ignore")
def test_the_notebook_runs(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "outputs are not kept in the repository"
    client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    assert (tmp_path / "runs" / "quickstart" / "dataset" / "README.md").exists()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    tables = [output for output in outputs if "text/html" in output.get("data", {})]
    assert len(tables) >= 3


@pytest.mark.filterwarnings("ignore")
def test_a_preview_works_in_a_notebook() -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    # A client of a server needs an event loop of its own, and a kernel runs one already.
    code = f"""
import sys, tempfile
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from engines.openai_server import OpenAIServer, write_recipe
import x_instruction

folder = Path(tempfile.mkdtemp())
with OpenAIServer() as server:
    recipe = write_recipe(folder / "recipe.toml", server.url)
    found = x_instruction.preview(recipe, folder / "run", languages=["th"])
found"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    shown, result = [output["data"]["text/html"] for output in notebook.cells[0].outputs if "data" in output]
    assert "preview: diversify: th: 3 in, 3 kept" in shown
    assert result.count(" chosen") == 3
    assert "Estimate of the run" in result
