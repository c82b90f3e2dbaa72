"""Tests of secure aggregation, privacy and strategies, with sites that only pretend to train:
`python -m unittest test_secrets`."""

import io
import json
import logging
import tempfile
import unittest
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
from dp_accounting import dp_event
from dp_accounting.rdp import RdpAccountant
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage

from monet_flower import client_app, private, secure, server_app, weights
from monet_flower.simulate import LocalGrid

TERMS = {
    "sites": 4,
    "update": "f32",
    "strategy": "fedavg",
    "proximal": 0.01,
    "server_rate": 0.01,
    "secure": False,
    "privacy": "",
}
TERMS |= {"clip": 1.0, "noise": 0.0, "delta": 1e-5, "scores": True, "quorum": 3, "timeout": 60.0}
STAGES = [Stage.SETUP, Stage.SHARE_KEYS, Stage.COLLECT_MASKED_VECTORS, Stage.UNMASK]
SIZES = {1: 100, 2: 300, 3: 50, 4: 1000}

logging.getLogger("flwr").setLevel(logging.CRITICAL)


def net():
    draw = np.random.default_rng(1).standard_normal
    shapes = {
        "a/weight": (6, 3, 3, 3),
        "a/gamma": (6,),
        "a/mean": (6,),
        "a/var": (6,),
        "b/weight": (2, 6, 1, 1),
    }
    tensors = {name: draw(shape).astype(np.float32) for name, shape in sorted(shapes.items())}
    return tensors | {"a/var": 5 + tensors["a/var"] ** 2}


def pretend(verb, folder, tensors, message, context, *arguments):
    """What a trainer does: moves each weight in a way of the site's own; Dice and loss tell how
    far."""
    k = context.node_id
    if verb == "score":
        return {"examples": 10 * k, "dice": {"anterior": 0.1 * k, "posterior": 0.2}}
    step = arguments[1]
    draw = np.random.default_rng([k, step]).standard_normal
    moved = {
        name: tensor + np.float32(0.1) * draw(tensor.shape).astype(np.float32)
        for name, tensor in tensors.items()
    }
    weights.write(moved, arguments[arguments.index("--out") + 1])
    return {"examples": SIZES[k], "loss": 1.0 / k}


client_app.trainer = pretend


class Grid(LocalGrid):
    """Sites of which so many are there after so many messages. Of an absent one nothing comes back
    where the grid is `silent`."""

    def get_node_ids(self):
        return super().get_node_ids()[: self.there(self.sent)]

    def send_and_receive(self, messages, *, timeout=None):
        replies = super().send_and_receive(messages, timeout=timeout)
        return [reply for reply in replies if not (self.silent and reply.has_error())]


class Run:
    """A federation over three rounds, or so many; what it ended with and said."""

    def __init__(
        self,
        absent=lambda node, message, number: False,
        *,
        rounds=3,
        nodes={},
        there=lambda sent: 4,
        silent=False,
        **terms,
    ):
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder)
            weights.write(net(), run / "best.safetensors")
            (run / "run.json").write_text(json.dumps({"steps": rounds, "epoch": 1}))
            (run / "task.toml").write_text("")
            (run / "federation.json").write_text(json.dumps(TERMS | terms))
            federation = server_app.Rounds(run)
            node = {"data": "", "trainer": ""} | nodes
            here = lambda n, message: absent(n, message, len(federation.log))
            grid = Grid([node | {"site": f"{k}/4"} for k in range(1, 5)], absent=here)
            grid.there, grid.silent = there, silent
            said = io.StringIO()
            with redirect_stderr(said):
                federation.go(grid)
            self.said, self.tensors = said.getvalue(), weights.read(run / "best.safetensors")
            self.rounds = json.loads((run / "rounds.json").read_text())["rounds"]

    def off(self, other):
        """The largest difference between two runs' weights."""
        return max(np.abs(self.tensors[name] - other.tensors[name]).max() for name in self.tensors)


def stage_of(message):
    config = message.content.config_records.get(RECORD_KEY_CONFIGS)
    return config and config[Key.STAGE]


class Secure(unittest.TestCase):
    def test_four_sites_end_with_the_same_weights_as_in_clear(self):
        clear, hidden = Run(), Run(secure=True)
        # Half a step of each site's rounding, in a mean over 1450 examples, three times; and f32's
        # own.
        step = 2 * secure.RANGE / secure.steps(4) * secure.HEAVIEST / 1450 * 4
        self.assertLess(hidden.off(clear), 3 * step + 1e-6)
        self.assertGreater(clear.off(Run(rounds=1)), 0.01)
        for ours, theirs in zip(hidden.rounds, clear.rounds):
            for name, dice in theirs["dice"].items():
                self.assertAlmostEqual(ours["dice"][name], dice, delta=1e-3)

    def test_no_answer_can_be_told_from_another_and_masks_hide_it(self):
        seen = []
        transport = LocalGrid.transport

        def watch(grid, message, name):
            seen.append((name, message))
            return transport(grid, message, name)

        LocalGrid.transport = watch
        try:
            Run(secure=True, rounds=1)
        finally:
            LocalGrid.transport = transport
        up = [m.content for name, m in seen if name.endswith("_up")]
        masked = [
            c[RECORD_KEY_CONFIGS][Key.MASKED_PARAMETERS]
            for c in up
            if Key.MASKED_PARAMETERS in c[RECORD_KEY_CONFIGS]
        ]
        # Weights of four sites, and scores of four.
        self.assertEqual(len(masked), 8)
        values = np.concatenate([np.load(io.BytesIO(part)).ravel() for part in masked[0]])
        # Uniform over 32 bits: an unmasked weight would be within a hundred millionth of the middle
        # of the range.
        self.assertLess(abs(values.mean() / 2**31 - 1), 0.15)
        self.assertGreater(values.std() / 2**32, 0.25)
        for content in up:
            self.assertNotIn("loss", str(content.metric_records))
            examples = content.metric_records.get("fitres.num_examples", {}).get("num_examples", 1)
            self.assertEqual(examples, 1)
            self.assertFalse(any(len(record) for record in content.array_records.values()))

    def test_masks_are_the_whole_seed_s_and_uniform(self):
        shapes = [(1,), (500, 20)]
        first = secure.masks(b"a" * 32, secure.MODULUS, shapes)
        # Flower folds a seed to the exclusive or of its 32-bit words, in which these two are the
        # same.
        other = secure.masks(b"a" * 28 + b"b" * 4 + b"c" * 4 + b"d" * 4, secure.MODULUS, shapes)
        self.assertEqual([part.shape for part in first], shapes)
        self.assertTrue((first[1] == secure.masks(b"a" * 32, secure.MODULUS, shapes)[1]).all())
        self.assertFalse((first[1] == other[1]).any())
        self.assertLess(abs(first[1].mean() / 2**31 - 1), 0.03)
        with self.assertRaisesRegex(ValueError, "modulus"):
            secure.masks(b"a" * 32, 1 << 20, shapes)

    def test_a_site_killed_in_any_phase_leaves_a_round_of_the_others(self):
        for stage in STAGES:
            with self.subTest(stage):
                # Gone from this phase of the second round on, for good.
                gone = set()

                def absent(node, message, number):
                    if node == 2 and number == 2 and stage_of(message) == stage:
                        gone.add(node)
                    return node in gone

                run = Run(absent, secure=True)
                self.assertEqual(len(run.rounds), 3)
                self.assertFalse(any("lost" in r for r in run.rounds), run.said)
                # What it had sent counts where it was there to the end of the sending.
                clear = Run(
                    lambda n, m, number: n == 2 and number >= (3 if stage == Stage.UNMASK else 2)
                )
                self.assertLess(run.off(clear), 1e-4)

    def test_two_sites_killed_in_any_phase_cost_the_round_and_not_the_run(self):
        for stage in STAGES:
            with self.subTest(stage):
                away = lambda node, message, number: (
                    node in (1, 4) and number == 2 and stage_of(message) == stage
                )
                run = Run(away, secure=True)
                self.assertEqual(
                    [("lost" in r) for r in run.rounds], [False, True, False], run.said
                )
                clear = Run(rounds=2)
                self.assertNotEqual(run.off(clear), 0)
                self.assertIn("the weights stay as they were", run.said)

    def test_a_federation_whose_rounds_are_all_lost_ends(self):
        with self.assertRaisesRegex(server_app.Failed, "3 rounds one after another"):
            Run(lambda node, message, number: node < 3, secure=True, rounds=9)

    def test_a_site_that_insists_gives_no_plain_answer(self):
        with self.assertRaisesRegex(server_app.Failed, "secure aggregation only"):
            Run(nodes={"secure": True})
        Run(nodes={"secure": True}, secure=True, rounds=1)

    def test_a_difference_beyond_the_masks_is_refused(self):
        far = net() | {"a/gamma": np.full(6, 1e6, np.float32)}

        def wild(verb, folder, tensors, message, context, *arguments):
            found = pretend(verb, folder, tensors, message, context, *arguments)
            if verb == "fit" and context.node_id == 1:
                weights.write(far, arguments[arguments.index("--out") + 1])
            return found

        client_app.trainer = wild
        try:
            run = Run(secure=True, rounds=1)
        finally:
            client_app.trainer = pretend
        self.assertIn("masks' units", run.said)
        self.assertTrue(all(np.abs(tensor).max() < 100 for tensor in run.tensors.values()))


class Private(unittest.TestCase):
    def test_epsilon_is_the_accountant_s(self):
        # The reference: Google's accountant, asked directly.
        reference = RdpAccountant()
        reference.compose(dp_event.GaussianDpEvent(1.5), 20)
        found = private.spent(TERMS | {"noise": 1.5}, 20)
        self.assertAlmostEqual(found, reference.get_epsilon(1e-5), places=9)
        # By hand: RDP of order a is a·T/(2·z²), and ε the least over a of that and the conversion's
        # ln(1-1/a) - ln(δ·a)/(a-1) (Canonne, Kamath, Steinke 2020, proposition 12).
        orders = np.linspace(1.01, 60, 100_000)
        by_hand = (
            orders * 20 / (2 * 1.5**2)
            + np.log1p(-1 / orders)
            - np.log(1e-5 * orders) / (orders - 1)
        )
        self.assertAlmostEqual(found, by_hand.min(), delta=0.01)
        run = Run(privacy="central", noise=1.5, rounds=2, scores=False)
        expected = [private.spent(TERMS | {"noise": 1.5}, n) for n in (1, 2)]
        self.assertEqual([r["epsilon"] for r in run.rounds], expected)
        self.assertEqual(
            Run(privacy="site", noise=1.5, rounds=2, scores=False).rounds[1]["epsilon"], expected[1]
        )

    def test_units_and_back_are_nothing_and_variances_stay_positive(self):
        held = net()
        found = private.restored(private.measured(held, held), held)
        for name in held:
            np.testing.assert_allclose(found[name], held[name], rtol=1e-6)
        worst = private.measured(held, held) | {"a/var": np.full(6, -9, np.float32)}
        self.assertTrue((private.restored(worst, held)["a/var"] > 0).all())

    def test_updates_are_clipped_in_all_forms(self):
        for terms in (
            {"privacy": "central"},
            {"privacy": "central", "secure": True},
            {"privacy": "site"},
        ):
            with self.subTest(terms):
                run = Run(**terms, noise=1e-6, clip=0.2, rounds=1, scores=False)
                start = private.measured(net(), net())
                moved = private.measured(run.tensors, net())
                norm = np.sqrt(sum(np.square(moved[name] - start[name]).sum() for name in start))
                # A mean of four updates of norm 0.2 that point apart.
                self.assertLess(norm, 0.2)
                self.assertGreater(norm, 0.05)
                self.assertEqual(run.rounds[0]["dice"], {})
                for site in run.rounds[0]["sites"].values():
                    self.assertNotIn("train_loss", site)

    def test_noise_is_as_large_as_said(self):
        quiet = Run(privacy="central", noise=1e-6, clip=0.2, rounds=1, scores=False)
        values = sum(
            t.size for name, t in net().items() if name == "a/weight" or name == "b/weight"
        )
        for terms, expected in (
            ({"privacy": "central"}, 2 * 0.2 / 4),
            ({"privacy": "site"}, 2 * 0.2 / 2),
        ):
            with self.subTest(terms):
                loud = Run(**terms, noise=2.0, clip=0.2, rounds=1, scores=False)
                names = ("a/weight", "b/weight")
                noise = np.concatenate(
                    [(loud.tensors[n] - quiet.tensors[n]).ravel() for n in names]
                )
                self.assertEqual(noise.size, values)
                self.assertAlmostEqual(noise.std(), expected, delta=0.15 * expected)

    def test_a_missing_site_costs_a_round_of_central_noise(self):
        gone = lambda node, message, number: node == 3 and number == 2
        run = Run(gone, privacy="central", noise=1.0, scores=False)
        self.assertEqual([("lost" in r) for r in run.rounds], [False, True, False], run.said)
        # What never came out costs nothing.
        self.assertEqual(run.rounds[0]["epsilon"], run.rounds[1]["epsilon"])
        self.assertLess(run.rounds[1]["epsilon"], run.rounds[2]["epsilon"])

    def test_a_silent_site_is_not_told_as_if_none_had_answered(self):
        for nodes, why in (
            ((3,), "a site's answer is missing, and the noise was made for all"),
            ((1, 2, 3, 4), "no site answered"),
        ):
            with self.subTest(nodes):
                gone = lambda node, message, number: node in nodes and number == 2
                run = Run(gone, silent=True, privacy="central", noise=1.0, scores=False)
                self.assertEqual([r.get("lost") for r in run.rounds], [None, why, None])

    def test_a_site_that_insists_on_noise_gives_none_without(self):
        nodes = {"least_noise": 1.0}
        for terms in (
            {},
            {"privacy": "site", "noise": 0.5, "scores": False},
            {"privacy": "site", "noise": 2.0},
        ):
            with self.assertRaisesRegex(server_app.Failed, "least-noise"):
                Run(nodes=nodes, **terms)
        Run(nodes=nodes, privacy="site", noise=2.0, scores=False, rounds=1)


class Strategies(unittest.TestCase):
    def test_all_move_the_weights_and_adam_averages_statistics(self):
        mean, prox, adam = (
            Run(strategy=name, rounds=1) for name in ("fedavg", "fedprox", "fedadam")
        )
        # The site's part of FedProx is the trainer's.
        self.assertEqual(mean.off(prox), 0)
        for name in mean.tensors:
            same = (mean.tensors[name] == adam.tensors[name]).all()
            self.assertEqual(same, weights.is_statistic(name), name)

    def test_a_run_goes_on_with_fewer_sites_than_it_began_with(self):
        # A site that is gone for good is not there to be asked, after its last score.
        run = Run(there=lambda sent: 4 if sent < 8 else 3)
        self.assertEqual([len(r["sites"]) for r in run.rounds], [4, 3, 3])


if __name__ == "__main__":
    unittest.main()
