"""Tests of what travels: `python -m unittest test_weights` in this folder."""

import unittest

import numpy as np
from flwr.app import Array, ArrayRecord

from monet_flower import weights


def net(seed, width=6):
    draw = np.random.default_rng(seed).standard_normal
    shapes = {
        "a/weight": (width, 3, 3, 3),
        "a/gamma": (width,),
        "b/weight": (2, width, 1, 1),
        "b/var": (2,),
    }
    return {name: draw(shape).astype(np.float32) for name, shape in sorted(shapes.items())}


class Updates(unittest.TestCase):
    def test_each_value_is_off_by_half_a_step_at_most_and_vectors_are_exact(self):
        base, new = net(1), net(2)
        found = weights.of_update(weights.update(new, base), base)
        self.assertEqual(list(found), list(base))
        for name in base:
            error = np.abs(found[name] - new[name]).reshape(len(base[name]), -1)
            change = (
                np.abs(new[name] - base[name])
                .reshape(len(base[name]), -1)
                .max(axis=1, keepdims=True)
            )
            allowed = change / 127 / 2 if base[name].ndim > 1 else 0
            self.assertTrue((error <= allowed + 1e-6).all(), name)

    def test_no_change_stays_none(self):
        base = net(1)
        found = weights.of_update(weights.update(base, base), base)
        self.assertTrue(all((found[name] == base[name]).all() for name in base))

    def test_whole_weights_come_back_as_they_were(self):
        found = weights.of_whole(weights.whole(net(1)))
        self.assertTrue(all((found[name] == tensor).all() for name, tensor in net(1).items()))

    def test_weights_of_another_topology_are_refused(self):
        for other in (net(1, width=5), {"c/weight": np.zeros((1, 1), np.float32)}):
            with self.assertRaisesRegex(ValueError, "another topology"):
                weights.same_topology(other, net(1))
            with self.assertRaisesRegex(ValueError, "another topology"):
                weights.of_update(weights.update(other, other), net(1))

    def test_values_that_are_no_numbers_and_unknown_arrays_are_refused(self):
        bad = net(1)
        bad["a/gamma"][0] = np.nan
        with self.assertRaisesRegex(ValueError, "no numbers"):
            weights.same_topology(bad, net(1))
        with self.assertRaisesRegex(ValueError, "an update has the arrays"):
            weights.of_update(ArrayRecord({"int8": Array(np.zeros(3, np.int8))}), net(1))


if __name__ == "__main__":
    unittest.main()
