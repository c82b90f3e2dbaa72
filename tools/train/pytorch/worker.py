"""Trains one net in PyTorch on one made-up batch; for every number of steps on stdin, prints slices a second as JSON.

    python worker.py NET DEVICE THREADS KIND BATCH SIZE WAY

A way is a memory layout of PyTorch eager, "default" or "channels last", or "compiled": channels last and torch.compile.
"""

import json
import platform
import sys
import time

import torch

import nets

WARM_UP = 3


def main():
    name, device, threads, kind, batch, size, way = sys.argv[1:]
    torch.set_num_threads(int(threads))
    torch.manual_seed(1)
    layout = torch.contiguous_format if way == "default" else torch.channels_last
    net = nets.NETS[name]().to(device=device, memory_format=layout).train()
    run = torch.compile(net) if way == "compiled" else net
    shape = (int(batch), 1, int(size), int(size))
    images = torch.rand(shape).to(device=device, memory_format=layout)
    labels = torch.randint(2, (shape[0], *shape[2:])).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-4)

    def step():
        optimizer.zero_grad()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=kind == "bf16"):
            logits = run(images)
        value = nets.loss(logits, labels)
        value.backward()
        optimizer.step()
        return value

    def rate(steps):
        begun = time.perf_counter()
        for _ in range(steps):
            value = step()
        value.item()  # waits for a GPU
        return steps * shape[0] / (time.perf_counter() - begun)

    rate(WARM_UP)
    name = torch.cuda.get_device_name(images.device) if images.is_cuda else "CPU"
    ready = {"parameters": nets.parameters(net), "torch": torch.__version__, "python": platform.python_version()}
    print(json.dumps({**ready, "device": name}), flush=True)
    for line in sys.stdin:
        print(json.dumps(rate(int(line))), flush=True)


main()
