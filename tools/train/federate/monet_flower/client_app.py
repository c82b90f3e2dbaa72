"""A site: takes weights from a message, has the trainer do its step with them, and answers with
what came out.

The node's configuration says where the site's data are (`data`, with `site` as k/n where it has a
part of them only, and beside that `deal` where the part is not every n-th), which trainer to call
(`trainer`) and with which options (`options`), and what the site insists on: `secure`, that its
answers are masked; `least_noise`, that it adds at least so much itself, and tells no scores. No
image, label or path leaves the site.
"""

import json
import shlex
import subprocess
import tempfile
from pathlib import Path

from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.app.message_type import MessageType
from flwr.clientapp import ClientApp

from . import private, secure, weights

app = ClientApp()


# All stages of secure aggregation come as messages of training.
@app.train(mods=[secure.at_site])
def train(message, context):
    """One round of steps from the global weights; answers with the site's."""
    if message.metadata.message_type == MessageType.EVALUATE:
        return score(message, context)
    config = message.content["config"]
    insist(config, context)
    tensors = hold(message, context)
    arguments = ["--step", config["step"], "--proximal", config.get("proximal-mu", 0.0)]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.safetensors"
        found = trainer("fit", Path(folder), tensors, message, context, *arguments, "--out", out)
        trained = weights.read(out)
    metrics = {"num-examples": found["examples"]}
    if config["privacy"]:
        trained = private.at_site(config, trained, tensors)
        # A site's size would weigh it, and is no part of what ε covers.
        metrics["num-examples"] = secure.EQUAL
    if config["scores"]:
        metrics["loss"] = found["loss"]
    rounded = config["update"] == weights.INT8 and not config["secure"]
    arrays = weights.update(trained, tensors) if rounded else weights.whole(trained)
    return answer(message, context, metrics, arrays)


@app.evaluate(mods=[secure.at_site])
def evaluate(message, context):
    return score(message, context)


def score(message, context):
    """Dice of the global weights on the site's validation subjects."""
    if context.node_config.get("least_noise"):
        raise ValueError(
            "this site adds noise to what it sends (--least-noise), and tells no scores"
        )
    tensors = hold(message, context)
    with tempfile.TemporaryDirectory() as folder:
        found = trainer("score", Path(folder), tensors, message, context, "--split", "validation")
    metrics = {"num-examples": found["examples"]} | {
        f"dice/{k}": v for k, v in found["dice"].items()
    }
    return answer(message, context, metrics)


def insist(config, context):
    """Refuses a round with less noise than the site wants."""
    least = float(context.node_config.get("least_noise") or 0)
    noise = config["noise"] if config["privacy"] == "site" else 0
    if noise < least or (least and config["scores"]):
        raise ValueError(
            f"this site takes part only with noise of at least {least} added here and no scores "
            "told (--least-noise); "
            f"the server asks for {noise}{' with scores' if config['scores'] else ''}"
        )


def hold(message, context):
    """The global weights: sent whole, as a difference to those that the site holds, or not at all
    where it holds them."""
    config, arrays = message.content["config"], message.content["arrays"]
    version, base = config["version"], config["base"]
    if base == 0:
        tensors = weights.of_whole(arrays)
    else:
        held = context.state.config_records.get("held", {"version": 0})["version"]
        if held != base:
            raise ValueError(f"the message builds on weights {base}, this site holds {held}")
        tensors = weights.of_whole(context.state["weights"])
        if version != base:
            tensors = weights.of_update(arrays, tensors)
    context.state["weights"] = weights.whole(tensors)
    context.state["held"] = ConfigRecord({"version": version})
    return tensors


def trainer(verb, folder, tensors, message, context, *arguments):
    """Calls `monet-train federate VERB` with the settings that the message brought; returns its
    line of JSON."""
    config, node = message.content["config"], context.node_config
    for name in ("run.json", "task.toml"):
        (folder / name).write_text(config[name])
    weights.write(tensors, folder / "in.safetensors")
    command = [node["trainer"], *shlex.split(str(node.get("options", "")))]
    command += [
        "federate",
        verb,
        "--run",
        folder,
        "--data",
        node["data"],
        "--weights",
        folder / "in.safetensors",
    ]
    for name in ("site", "deal"):
        if node.get(name):
            command += [f"--{name}", node[name]]
    done = subprocess.run(
        [*map(str, command), *map(str, arguments)], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip() or f"{node['trainer']} ended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def answer(message, context, metrics, arrays=None):
    """The reply, with the site's name."""
    about = ConfigRecord({"site": str(context.node_config.get("site", ""))})
    content = RecordDict({"metrics": MetricRecord(metrics), "about": about})
    if arrays is not None:
        content["arrays"] = arrays
    return Message(content, reply_to=message)
