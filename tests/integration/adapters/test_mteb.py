"""The MTEB integration, driven by mteb's own harness on a real Triton. The tasks are small, and made here."""

import json
from pathlib import Path

import mteb
import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTaskClassification, AbsTaskRetrieval, AbsTaskSTS
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models.models_protocols import CrossEncoderProtocol, EncoderProtocol
from mteb.types import EncodeKwargs, PromptType
from numpy.typing import NDArray
from qwen3_client import Client, InvalidInputError, ServerUnavailableError
from qwen3_client.integrations.mteb import Qwen3CrossEncoder, Qwen3Encoder, qwen_instructions
from qwen3_client.transports import FakeTransport
from torch.utils.data import DataLoader

QUERIES = ["Which planet is red?", "Which planet is hot?", "What is the capital of China?"]
CORPUS = ["Mars is red", "Venus is hot", "Beijing is the capital of China", "", "Процедура банкротства"]
PAIRS = [("red", "crimson", 4.0), ("red", "scarlet", 5.0), ("red", "北京", 0.0), ("hot", "warm", 3.0)]
QUERY_TASK = "Given a question about planets, find the answer"


def metadata(name: str, kind: str, *, main_score: str, prompt: str | dict[str, str] | None = None) -> TaskMetadata:
    return TaskMetadata.model_validate(
        {
            "name": name,
            "type": kind,
            "main_score": main_score,
            "prompt": prompt,
            "description": "A few texts.",
            "reference": "https://example.org",
            "dataset": {"path": "none", "revision": "none"},
            "category": "t2t",
            "modalities": ["text"],
            "eval_splits": ["test"],
            "eval_langs": ["eng-Latn"],
            "date": ("2025-01-01", "2025-01-01"),
            "dialect": [],
            "domains": [],
            "task_subtypes": [],
            "license": "cc0-1.0",
            "annotations_creators": "derived",
            "sample_creation": "created",
            "bibtex_citation": "",
        }
    )


def retrieval_data(*, top_ranked: dict[str, list[str]] | None) -> RetrievalSplitData:
    return RetrievalSplitData(
        corpus=Dataset.from_list([{"id": f"d{i}", "title": "", "text": text} for i, text in enumerate(CORPUS)]),
        queries=Dataset.from_list([{"id": f"q{i}", "text": text} for i, text in enumerate(QUERIES)]),
        relevant_docs={f"q{i}": {f"d{i}": 1} for i in range(len(QUERIES))},
        top_ranked=top_ranked,
    )


class Planets(AbsTaskRetrieval):
    """Queries about planets."""

    metadata = metadata("TestPlanets", "Retrieval", main_score="ndcg_at_10", prompt={"query": QUERY_TASK})


class RankedPlanets(AbsTaskRetrieval):
    """The same, with documents that another model found."""

    metadata = metadata("TestRankedPlanets", "Reranking", main_score="map_at_1000")


class Words(AbsTaskSTS):
    """Pairs of words."""

    metadata = metadata("TestWords", "STS", main_score="cosine_spearman")


class Moods(AbsTaskClassification):
    """Glad and sad texts."""

    metadata = metadata("TestMoods", "Classification", main_score="accuracy", prompt="Classify the mood")
    samples_per_label = 4
    n_experiments = 2


def planets() -> Planets:
    task = Planets()
    task.dataset = {"default": {"test": retrieval_data(top_ranked=None)}}
    task.data_loaded = True
    return task


def ranked_planets() -> RankedPlanets:
    task = RankedPlanets()
    found = {f"q{i}": ["d0", "d1", "d2", "d4"] for i in range(len(QUERIES))}
    task.dataset = {"default": {"test": retrieval_data(top_ranked=found)}}
    task.data_loaded = True
    return task


def words() -> Words:
    task = Words()
    first, second, scores = zip(*PAIRS, strict=True)
    split = Dataset.from_dict({"sentence1": first, "sentence2": second, "score": scores})
    task.dataset = {"default": DatasetDict({"test": split})}
    task.data_loaded = True
    return task


def moods() -> Moods:
    task = Moods()
    texts = [f"{mood} text number {i}" for i in range(8) for mood in ("glad", "sad")]
    split = Dataset.from_dict({"text": texts, "label": [0, 1] * 8})
    task.dataset = {"default": DatasetDict({"train": split, "test": split})}
    task.data_loaded = True
    return task


def predictions(folder: Path) -> dict[str, dict[str, float]]:
    (path,) = folder.rglob("*.json")
    found: dict[str, dict[str, float]] = json.loads(path.read_text())["default"]["test"]
    return found


def as_table(found: dict[str, dict[str, float]], *, columns: list[int]) -> NDArray[np.float64]:
    return np.array([[found[f"q{row}"][f"d{column}"] for column in columns] for row in range(len(QUERIES))])


def end_token_vector(client: Client, *, dimensions: int | None = None) -> NDArray[np.float32]:
    return client.encode_tokens([[client.info().eos_token_id]], dimensions=dimensions)


@pytest.mark.parametrize("dimensions", [None, 32])
def test_retrieval_queries_carry_the_instruction_and_documents_none(
    url: str, client: Client, tmp_path: Path, dimensions: int | None
) -> None:
    with Qwen3Encoder(url, dimensions=dimensions) as model:
        result = mteb.evaluate(model, planets(), cache=None, prediction_folder=tmp_path, show_progress_bar=False)
    queries = client.encode_query(QUERIES, instruction=QUERY_TASK, dimensions=dimensions)
    documents = client.encode_document([text or "empty" for text in CORPUS], dimensions=dimensions)
    documents[CORPUS.index("")] = end_token_vector(client, dimensions=dimensions)
    cosines = queries @ documents.T
    np.testing.assert_allclose(as_table(predictions(tmp_path), columns=[0, 1, 2, 3, 4]), cosines, atol=1e-6)
    ranks = [(row > row[i]).sum() for i, row in enumerate(cosines)]
    (task,) = result.task_results
    assert task.get_score() == pytest.approx(np.mean([1 / np.log2(rank + 2) for rank in ranks]), abs=1e-4)


def test_the_callers_instruction_goes_first(client: Client, tmp_path: Path) -> None:
    model = Qwen3Encoder(client=client, instructions={"TestPlanets": "Find the planet"})
    mteb.evaluate(model, planets(), cache=None, prediction_folder=tmp_path, show_progress_bar=False)
    cosines = client.encode_query(QUERIES, instruction="Find the planet") @ client.encode_document(CORPUS[:3]).T
    np.testing.assert_allclose(as_table(predictions(tmp_path), columns=[0, 1, 2]), cosines, atol=1e-6)
    model.close()
    assert client.is_ready()


def test_both_texts_of_a_similarity_task_carry_one(url: str, client: Client) -> None:
    with Qwen3Encoder(url) as model:
        (task,) = mteb.evaluate(model, words(), cache=None, show_progress_bar=False).task_results
    first, second = (
        client.encode_query(texts, instruction="Retrieve semantically similar text")
        for texts in ([text for text, _, _ in PAIRS], [text for _, text, _ in PAIRS])
    )
    cosines, given = (first * second).sum(axis=1), [score for _, _, score in PAIRS]
    ranks = [np.argsort(np.argsort(values)) for values in (cosines, given)]
    expected = np.corrcoef(ranks)[0, 1]  # Spearman's correlation
    assert task.get_score() == pytest.approx(expected)


def test_a_classification(url: str) -> None:
    with Qwen3Encoder(url) as model:
        (task,) = mteb.evaluate(model, moods(), cache=None, show_progress_bar=False).task_results
    assert 0 <= task.get_score() <= 1
    assert task.task_name == "TestMoods"


def test_a_cross_encoder_reranks(url: str, client: Client, tmp_path: Path) -> None:
    with Qwen3CrossEncoder(url, instructions={"TestRankedPlanets": QUERY_TASK}) as model:
        assert isinstance(model, CrossEncoderProtocol)
        result = mteb.evaluate(model, ranked_planets(), cache=None, prediction_folder=tmp_path, show_progress_bar=False)
    columns = [0, 1, 2, 4]
    pairs = [(query, CORPUS[column]) for query in QUERIES for column in columns]
    scores = client.score(pairs, instruction=QUERY_TASK).reshape(len(QUERIES), -1)
    np.testing.assert_array_equal(as_table(predictions(tmp_path), columns=columns).astype(np.float32), scores)
    ranks = [(row > row[i]).sum() for i, row in enumerate(scores)]
    (task,) = result.task_results
    assert task.get_score() == pytest.approx(np.mean([1 / (rank + 1) for rank in ranks]), abs=1e-4)


def test_a_cross_encoder_without_an_instruction_takes_the_models(client: Client) -> None:
    queries, documents = (DataLoader(Dataset.from_dict({"text": texts})) for texts in (QUERIES, CORPUS[:3]))
    scores = Qwen3CrossEncoder(client=client).predict(
        queries,
        documents,
        task_metadata=RankedPlanets.metadata,
        hf_split="test",
        hf_subset="default",
        batch_size=2,
        show_progress_bar=False,
        precision="float32",
    )
    np.testing.assert_array_equal(scores, client.score(list(zip(QUERIES, CORPUS[:3], strict=True))))


def test_which_instruction(client: Client) -> None:
    model = Qwen3Encoder(client=client, instructions={"TRECCOVID": "About the virus", "STS12": {"query": "Same?"}})
    assert isinstance(model, EncoderProtocol)
    query, document, either = PromptType("query"), PromptType("document"), None
    named = qwen_instructions()
    expected = [
        ("NFCorpus", query, named["NFCorpus"]),
        ("NFCorpus", document, ""),
        ("ArguAna", query, "Given a claim, find documents that refute the claim"),
        ("ArguAna", document, "Given a claim, find documents that refute the claim"),  # such is Qwen's table
        ("AskUbuntuDupQuestions", document, ""),
        ("Banking77Classification", either, named["Banking77Classification"]),
        ("STSBenchmark", either, "Retrieve semantically similar text"),
        ("SprintDuplicateQuestions", either, "Retrieve semantically similar text"),  # its type goes before its name
        ("BUCC.v2", either, "Retrieve parallel sentences"),
        ("TRECCOVID", query, "About the virus"),
        ("TRECCOVID", document, ""),
        ("STS12", either, "Same?"),
        ("STS12", document, ""),
        (
            "MedrxivClusteringS2S.v2",
            either,
            "Identify the main category of Medrxiv papers based on the titles",
        ),  # mteb's
        ("BSARDRetrieval.v2", document, ""),
    ]
    for name, prompt_type, instruction in expected:
        assert model.get_instruction(mteb.get_task(name).metadata, prompt_type) == instruction, (name, prompt_type)
    assert model.get_instruction(Planets.metadata, query) == QUERY_TASK
    assert model.get_instruction(Planets.metadata, either) == QUERY_TASK
    assert model.get_instruction(RankedPlanets.metadata, query) == AbsTaskRetrieval.abstask_prompt


def test_a_model_with_prompts_of_its_own_gets_these() -> None:
    transport = FakeTransport()
    parameters = transport.configs["qwen3_embedding"]["parameters"]
    del parameters["default_instruction"]
    parameters |= {"query_prompt": {"string_value": "Query: "}, "document_prompt": {"string_value": "Document: "}}
    with Client(transport=transport) as client:
        model = Qwen3Encoder(client=client)
        texts = DataLoader(Dataset.from_dict({"text": ["red"]}))
        how: EncodeKwargs = {"batch_size": 1, "show_progress_bar": False, "precision": "float32"}
        for prompt_type in (PromptType("query"), PromptType("document"), None):
            model.encode(
                texts,
                task_metadata=Planets.metadata,
                hf_split="test",
                hf_subset="default",
                prompt_type=prompt_type,
                **how,
            )
        read = [bytes(request.input_ids[0, :-1].tolist()) for request in transport.requests]
        wanted = [client.tokenize(["red"], kind="query")[0], client.tokenize(["red"], kind="document")[0]]
        assert [len(row) for row in read] == [len("Query: red"), len("Document: red"), len("red")]
        assert [list(row) for row in read[:2]] == [ids[:-1].tolist() for ids in wanted]
        assert model.mteb_model_meta.use_instructions is False
        own = Qwen3Encoder(client=client, instructions={"TestPlanets": "Find the planet"})
        with pytest.raises(InvalidInputError, match="takes no instruction"):
            own.encode(texts, task_metadata=Planets.metadata, hf_split="test", hf_subset="default", **how)


def test_the_table_is_whole() -> None:
    """The names are mteb's, but for six that it has under other ones."""
    table = qwen_instructions()
    assert len(table) == 251
    known = {task.metadata.name for task in mteb.get_tasks(exclude_superseded=False)}
    others = {"8TagsClustering", "CMedQAv1", "CMedQAv2", "MmarcoReranking", "PPC", "PawsX"}
    assert set(table) - known == others
    by_side = {name: entry for name, entry in table.items() if not isinstance(entry, str)}
    assert set(by_side) == {"ArguAna", "CQADupstackGamingRetrieval", "CQADupstackUnixRetrieval"}
    assert all(set(entry) == {"query", "document"} for entry in by_side.values())
    with pytest.raises(TypeError):
        table["NFCorpus"] = ""  # type: ignore[index]


def test_what_the_model_says_of_itself(client: Client) -> None:
    meta = Qwen3Encoder(client=client, dimensions=32).mteb_model_meta
    assert (meta.name, meta.revision) == ("qwen3-triton/Qwen3-Embedding-tiny", "unknown")
    assert (meta.embed_dim, meta.max_tokens, meta.is_cross_encoder) == (32, 2048, False)
    assert meta.experiment_kwargs == {"server": "qwen3-triton", "precision": "fp32"}
    assert Qwen3CrossEncoder(client=client).mteb_model_meta.is_cross_encoder


def test_options_and_errors() -> None:
    with pytest.raises(InvalidInputError, match="either server="):
        Qwen3CrossEncoder()
    with pytest.raises(InvalidInputError, match="dimensions"):
        Qwen3Encoder("localhost:1", dimensions=31)
    with pytest.raises(ServerUnavailableError, match="qwen3-triton serve"):
        mteb.evaluate(Qwen3Encoder("localhost:1"), planets(), cache=None, show_progress_bar=False)
