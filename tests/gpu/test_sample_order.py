"""The order of samples that Python computes is the trainer's. tests/unit/data/batch_plan_test.cc holds the same windows."""
import unittest

from sample_order import window


class SampleOrder(unittest.TestCase):
    def test_windows_are_those_of_the_trainer(self):
        self.assertEqual(window(7, 1437, 8, 0), [1133, 184, 928, 1275, 1365, 813, 1413, 1305])
        self.assertEqual(window(7, 1437, 8, 180), [1175, 1430, 992, 1142, 151, 137, 634, 1082])

    def test_the_last_window_of_a_pass_is_what_is_left(self):
        self.assertEqual(window(7, 1437, 8, 179), [1173, 1257, 768, 542, 913])

    def test_the_largest_seed_wraps_as_64_bits_do(self):
        self.assertEqual(window((1 << 64) - 1, 3, 2, 5), [1])

    def test_a_pass_takes_every_sample_once(self):
        for samples in (1, 2, 3, 5, 64, 65, 1437):
            taken = [index for number in range(-(-samples // 8)) for index in window(3, samples, 8, number)]
            self.assertEqual(sorted(taken), list(range(samples)))


if __name__ == "__main__":
    unittest.main()
