"""Runs texts in the embedded host's engine over the stub libraries; started by test_host.py.

    run_host.py PACKAGES MODEL LENGTHS OPTIONS

PACKAGES is the folder with onnxruntime-gpu; LENGTHS and OPTIONS, of `open_cuda_session`, are JSON. Prints JSON: the
provider, the shapes of the outputs and the number of batches, or the error.
"""

import json
import sys
from pathlib import Path

packages, model, lengths, options = sys.argv[1:]
sys.path.insert(0, packages)

import numpy as np  # noqa: E402
from qwen3_export.cuda import CudaError, open_cuda_session  # noqa: E402
from qwen3_serve.host.cuda_engine import CudaEngine  # noqa: E402

try:
    session = open_cuda_session(Path(model), **json.loads(options))
except CudaError as error:
    print(json.dumps({"error": str(error)}))
    sys.exit()
engine = CudaEngine(session, max_batch_tokens=16_384)
rows = engine.run([np.zeros(length, np.int64) for length in json.loads(lengths)])
print(json.dumps({"provider": session.get_providers()[0], "shapes": [list(each.shape) for each in rows]}))
