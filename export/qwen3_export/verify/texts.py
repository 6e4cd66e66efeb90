"""The built-in texts, and the numbers that the model cards publish for some of them. This module is data only."""

# ruff: noqa: RUF001 - the texts are in many scripts

from dataclasses import dataclass

# Source: the model cards' default task.
TASK = "Given a web search query, retrieve relevant passages that answer the query"

# Source: `get_detailed_instruct` of the Qwen3-Embedding model cards.
QUERY_PROMPT = "Instruct: {task}\nQuery:{query}"

# Source: the Qwen3-Reranker model cards.
RERANKER_PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
RERANKER_BODY = "<Instruct>: {task}\n<Query>: {query}\n<Document>: {document}"
RERANKER_SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


@dataclass(frozen=True, slots=True)
class Text:
    """A text for an embedding model, including its instruction."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A query and a document for a reranker."""

    name: str
    query: str
    document: str


# Source: the example of the Qwen3-Embedding model cards.
CARD_QUERIES = (
    Text("card: query China", QUERY_PROMPT.format(task=TASK, query="What is the capital of China?")),
    Text("card: query gravity", QUERY_PROMPT.format(task=TASK, query="Explain gravity")),
)
CARD_DOCUMENTS = (
    Text("card: document China", "The capital of China is Beijing."),
    Text(
        "card: document gravity",
        "Gravity is a force that attracts two bodies towards each other. It gives weight to physical objects and is "
        "responsible for the movement of planets around the sun.",
    ),
)
# The cosines in the model cards for the texts above: one row per query, one column per document.
CARD_COSINES = {
    "Qwen/Qwen3-Embedding-0.6B": ((0.764557, 0.141425), (0.135497, 0.599955)),
    "Qwen/Qwen3-Embedding-4B": ((0.7534, 0.1147), (0.0320, 0.6258)),
    "Qwen/Qwen3-Embedding-8B": ((0.749302, 0.075065), (0.087960, 0.631840)),
}

# Source: the cross-encoder example of the sentence-transformers documentation.
_RED_PLANET = "Which planet is known as the Red Planet?"
CARD_PAIRS = (
    Pair(
        "card: Venus",
        _RED_PLANET,
        "Venus is often called Earth's twin because of its similar size and proximity.",
    ),
    Pair(
        "card: Mars",
        _RED_PLANET,
        "Mars, known for its reddish appearance, is often referred to as the Red Planet.",
    ),
    Pair(
        "card: Jupiter",
        _RED_PLANET,
        "Jupiter, the largest planet in our solar system, has a prominent red spot.",
    ),
    Pair(
        "card: Saturn",
        _RED_PLANET,
        "Saturn, famous for its rings, is sometimes mistaken for the Red Planet.",
    ),
)
# logit(yes) - logit(no) of the pairs above, in float32.
CARD_LOGITS = {"Qwen/Qwen3-Reranker-0.6B": (-3.1093, 7.1204, -0.3788, 3.5416)}

LANGUAGES = (
    Text("English", "The court may declare a person bankrupt at the request of that person or of a creditor."),
    Text("Chinese", "北京是中华人民共和国的首都，也是全国的政治、文化和国际交往中心。"),
    Text("Russian", "Процедура банкротства физических лиц начинается с подачи заявления в арбитражный суд."),
    Text("Arabic", "الجاذبية قوة تجذب الأجسام بعضها نحو بعض وتمنحها وزنها."),
    Text("Japanese", "重力は物体どうしを引き寄せる力であり、惑星が太陽のまわりを回る理由でもあります。"),
    Text("French", "La gravité attire les corps les uns vers les autres ; elle donne leur poids aux objets."),
    Text("German", "Die Schwerkraft zieht Körper an und hält die Planeten auf ihren Bahnen um die Sonne."),
    Text("Hindi", "गुरुत्वाकर्षण वह बल है जो दो पिंडों को एक-दूसरे की ओर खींचता है।"),
)
OTHERS = (
    # Texts that start with "import" are known to overflow float16 in the 8B model.
    Text("code: Python", "import math\n\n\ndef pull(m1, m2, r):\n    return 6.674e-11 * m1 * m2 / math.pow(r, 2)\n"),
    Text("code: SQL", "SELECT name, mass FROM planets WHERE mass > 5.97e24 ORDER BY radius DESC LIMIT 3;"),
    Text("emoji", "🦜🌍 👩‍👩‍👧 ➜ ½ é"),
)

# One query for each document of LANGUAGES and OTHERS, in their order.
PAIR_QUERIES = (
    "Who can ask a court to declare bankruptcy?",
    "中国的首都是哪里？",
    "С чего начинается банкротство?",
    "ما هي الجاذبية؟",
    "惑星はなぜ太陽のまわりを回るのですか",
    "Qu'est-ce qui donne leur poids aux objets ?",
    "Was hält die Planeten auf ihren Bahnen?",
    "गुरुत्वाकर्षण क्या है?",
    "function that computes the force between two masses",
    "three largest heavy planets",
    "What is the capital of China?",
)

# Token counts around those at which other kernels are used: one row, ranges of 128 rows, blocks of 256 and 512 queries,
# powers of two.
LENGTHS = (1, 2, 3, 17, 64, 128, 129, 257, 513, 1024, 2048, 4096)
