"""What `helm test` runs inside the cluster: the service is ready, and answers a question in a stream to its end."""

import json
import os
import urllib.request

url = os.environ["SERVICE_URL"]
with urllib.request.urlopen(f"{url}/readyz", timeout=10) as answer:
    print("ready:", answer.read().decode())

question = {"model": "rejoinder", "stream": True, "messages": [{"role": "user", "content": "I forgot my password"}]}
request = urllib.request.Request(
    f"{url}/v1/chat/completions",
    data=json.dumps(question).encode(),
    headers={"content-type": "application/json", "authorization": f"Bearer {os.environ['API_KEY']}"},
)
events = []
with urllib.request.urlopen(request, timeout=60) as stream:
    for line in stream:
        if line.startswith(b"data: "):
            events.append(line[6:].decode().strip())
            print(events[-1])
if not events or events[-1] != "[DONE]" or any('"error"' in event for event in events):
    raise SystemExit("The service did not answer as it should.")
