"""Java's own HTTP client, which offers HTTP/2 with every request, and chunked bodies."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from qwen3_client import Client
from support.clients import DOCUMENTS, Report, java
from support.gateway import Gateway

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

PROGRAM = """
import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.*;
import java.nio.charset.StandardCharsets;

public class Ask {
    public static void main(String[] given) throws Exception {
        var client = HttpClient.newHttpClient();  // offers HTTP/2 with every request
        for (int i = 0; i < 3; i++) {
            var text = given[1].getBytes(StandardCharsets.UTF_8);
            var body = i < 2
                ? HttpRequest.BodyPublishers.ofByteArray(text)
                : HttpRequest.BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(text));  // chunked
            var request = HttpRequest.newBuilder(URI.create(given[0])).POST(body).build();
            var answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(answer.statusCode() + " " + answer.body());
        }
        System.out.println(System.getProperty("java.version"));
    }
}
"""


def test_javas_own_client(gateway: Gateway, direct: Client, report: Report, tmp_path: Path) -> None:
    (tmp_path / "Ask.java").write_text(PROGRAM)
    body = json.dumps({"input": DOCUMENTS})
    command = [java(), str(tmp_path / "Ask.java"), f"{gateway.url}/v1/embeddings", body]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    *answers, version = done.stdout.splitlines()
    assert len(answers) == 3
    for answer in answers:
        assert answer.startswith("200 "), answer
        vectors = [item["embedding"] for item in json.loads(answer[4:])["data"]]
        np.testing.assert_array_equal(np.array(vectors, np.float32), direct.encode_document(DOCUMENTS))
    report.add("java.net.http", version, "/v1/embeddings, with an offer to upgrade, and chunked")
