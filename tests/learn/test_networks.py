import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from hipseg.config import ModifiedUnetSettings, NetworkSettings, UnetSettings
from hipseg.errors import ConfigError
from hipseg.learn.networks import build_network, is_head

ENCODER = [8, 16, 32, 64, 128, 256, 512, 1024]
DECODER = [512, 256, 128, 64, 32, 16, 8, 1]
SLIM = NetworkSettings(
    modified_unet=ModifiedUnetSettings(encoder_filters=(1, 2, 3, 4, 5, 6, 7, 8), decoder_filters=(8, 7, 6, 5, 4, 3, 2)),
    unet=UnetSettings(base_filters=2),
)


@pytest.fixture(scope="module")
def modified():
    return build_network("modified-unet", NetworkSettings(), 512)


@pytest.fixture(scope="module")
def standard():
    return build_network("unet", NetworkSettings(), 512)


def of_kind(model, kind):
    return [layer for layer in model.layers if isinstance(layer, kind)]


def source(layer):
    """The layer whose output this one takes."""
    return layer.input._keras_history.operation


def sources(layer):
    return [tensor._keras_history.operation.name for tensor in layer.input]


def convolutions(model):
    return [layer for layer in model.layers if isinstance(layer, (layers.Conv2D, layers.Conv2DTranspose))]


class TestModifiedUnet:
    def test_takes_and_gives_one_channel_of_512(self, modified):
        assert modified.input_shape == (None, 512, 512, 1)
        assert modified.output_shape == (None, 512, 512, 1)

    def test_has_eight_convolutions_down_and_eight_transposed_up(self, modified):
        assert [layer.name for layer in of_kind(modified, layers.Conv2D)] == [f"enc{i}_conv" for i in range(1, 9)]
        assert [layer.name for layer in of_kind(modified, layers.Conv2DTranspose)] == [f"dec{i}_conv" for i in range(1, 9)]

    def test_every_convolution_is_4x4_stride_2_same_with_bias_and_no_activation_of_its_own(self, modified):
        for layer in convolutions(modified):
            assert (layer.kernel_size, layer.strides, layer.padding, layer.use_bias) == ((4, 4), (2, 2), "same", True)
            assert layer.activation.__name__ == "linear"

    def test_filters_rise_down_and_fall_up(self, modified):
        assert [layer.filters for layer in convolutions(modified)] == ENCODER + DECODER

    def test_sides_halve_to_two_and_double_back(self, modified):
        sides = [layer.output.shape[1] for layer in convolutions(modified)]
        assert sides == [256, 128, 64, 32, 16, 8, 4, 2, 4, 8, 16, 32, 64, 128, 256, 512]

    def test_encoder_block_is_convolution_then_leaky_relu_then_normalisation(self, modified):
        for block in range(1, 9):
            norm = modified.get_layer(f"enc{block}_norm")
            act = source(norm)
            assert isinstance(norm, layers.BatchNormalization)
            assert isinstance(act, layers.LeakyReLU)
            assert act.negative_slope == 0.02
            assert source(act).name == f"enc{block}_conv"

    def test_first_three_decoder_blocks_and_the_output_have_no_normalisation(self, modified):
        names = {layer.name for layer in of_kind(modified, layers.BatchNormalization)}
        assert names == {f"enc{i}_norm" for i in range(1, 9)} | {f"dec{i}_norm" for i in (4, 5, 6, 7)}

    def test_decoder_block_is_convolution_then_normalisation_then_relu(self, modified):
        for block in range(1, 8):
            act = modified.get_layer(f"dec{block}_act")
            assert act.activation.__name__ == "relu"
            before = source(act)
            if block >= 4:
                assert isinstance(before, layers.BatchNormalization)
                before = source(before)
            assert before.name == f"dec{block}_conv"

    def test_output_is_a_sigmoid_on_one_filter(self, modified):
        act = modified.layers[-1]
        assert act.activation.__name__ == "sigmoid"
        assert source(act).name == "dec8_conv"

    def test_seven_skips_join_outputs_of_equal_size(self, modified):
        skips = of_kind(modified, layers.Concatenate)
        assert {skip.name: sources(skip) for skip in skips} == {
            f"dec{i}_skip": [f"dec{i}_act", f"enc{8 - i}_norm"] for i in range(1, 8)
        }
        assert [source(modified.get_layer(f"dec{i + 1}_conv")).name for i in range(1, 8)] == [f"dec{i}_skip" for i in range(1, 8)]

    def test_first_decoder_block_takes_the_last_encoder_output(self, modified):
        assert source(modified.get_layer("dec1_conv")).name == "enc8_norm"

    def test_has_no_pooling_and_no_other_layer(self, modified):
        # 8 encoder blocks of 3, 3 decoder blocks of 3 (with their skips), 4 of 4, the output's 2, and the input
        assert len(modified.layers) == 8 * 3 + 3 * 3 + 4 * 4 + 2 + 1
        assert not of_kind(modified, layers.MaxPooling2D)

    def test_momentum_is_0_9(self, modified):
        assert {layer.momentum for layer in of_kind(modified, layers.BatchNormalization)} == {0.9}

    def test_parameters_are_as_many_as_derived_by_hand(self, modified):
        # A 4x4 convolution from i to o channels has 16 i o + o parameters. A block up takes the one below and its skip.
        taken_down = [1, *ENCODER[:-1]]
        taken_up = [1024, 512 + 512, 256 + 256, 128 + 128, 64 + 64, 32 + 32, 16 + 16, 8 + 8]
        kernels = sum(16 * i * o + o for i, o in zip(taken_down + taken_up, ENCODER + DECODER, strict=True))
        # Each normalised channel has a scale and a shift that learn, and a mean and a variance that follow.
        normalised = sum(ENCODER) + 64 + 32 + 16 + 8
        assert normalised == 2160
        assert kernels == 25167217
        assert modified.count_params() == kernels + 4 * normalised == 25175857
        assert sum(np.prod(w.shape) for w in modified.trainable_weights) == kernels + 2 * normalised == 25171537

    def test_literal_form_also_normalises_the_output_before_its_sigmoid(self):
        settings = NetworkSettings(modified_unet=SLIM.modified_unet.model_copy(update={"normalise_output": True}))
        model = build_network("modified-unet", settings, 256)
        assert source(model.get_layer("dec8_act")).name == "dec8_norm"
        assert len(of_kind(model, layers.BatchNormalization)) == 13

    def test_smallest_input_of_256_reaches_one_element(self):
        model = build_network("modified-unet", SLIM, 256)
        assert model.get_layer("enc8_conv").output.shape[1:] == (1, 1, 8)
        assert model.output_shape == (None, 256, 256, 1)


class TestStandardUnet:
    def test_has_eighteen_3x3_and_one_1x1_convolutions_and_four_2x2_up(self, standard):
        kinds = [(type(layer).__name__, layer.kernel_size, layer.strides, layer.filters) for layer in convolutions(standard)]
        double = lambda filters: [("Conv2D", (3, 3), (1, 1), filters)] * 2  # noqa: E731
        expected = [kind for filters in (64, 128, 256, 512, 1024) for kind in double(filters)]
        for filters in (512, 256, 128, 64):
            expected += [("Conv2DTranspose", (2, 2), (2, 2), filters), *double(filters)]
        assert kinds == [*expected, ("Conv2D", (1, 1), (1, 1), 1)]

    def test_keeps_its_size_with_same_padding(self, standard):
        assert {layer.padding for layer in convolutions(standard)} == {"same"}
        assert standard.output_shape == (None, 512, 512, 1)

    def test_each_3x3_convolution_is_followed_by_relu_and_the_head_by_sigmoid(self, standard):
        acts = of_kind(standard, layers.Activation)
        assert [act.activation.__name__ for act in acts] == ["relu"] * 18 + ["sigmoid"]
        assert {source(act).kernel_size for act in acts[:-1]} == {(3, 3)}
        assert source(acts[-1]).kernel_size == (1, 1)

    def test_pools_four_times_by_two_and_never_normalises(self, standard):
        assert [(p.pool_size, p.strides) for p in of_kind(standard, layers.MaxPooling2D)] == [((2, 2), (2, 2))] * 4
        assert not of_kind(standard, layers.BatchNormalization)

    def test_four_skips_join_outputs_of_equal_size(self, standard):
        assert {skip.name: sources(skip) for skip in of_kind(standard, layers.Concatenate)} == {
            f"dec{i}_skip": [f"enc{5 - i}_act2", f"dec{i}_up"] for i in range(1, 5)
        }

    def test_parameters_are_as_many_as_derived_by_hand(self, standard):
        three = lambda i, o: 9 * i * o + o  # noqa: E731
        down = three(1, 64) + three(64, 64)
        down += sum(three(o // 2, o) + three(o, o) for o in (128, 256, 512, 1024))
        up = sum((4 * 2 * o * o + o) + three(2 * o, o) + three(o, o) for o in (512, 256, 128, 64))
        assert standard.count_params() == down + up + (64 + 1) == 31030593


@pytest.mark.parametrize("name", ["unet", "modified-unet"])
class TestBothNetworks:
    @pytest.mark.parametrize("side", [128, 300, 384, 0, -256])
    def test_other_input_sides_are_refused_by_name(self, name, side):
        with pytest.raises(ConfigError, match=rf"input_side is {side}; {name} takes a power of two of at least 256"):
            build_network(name, SLIM, side)

    def test_answers_lie_between_zero_and_one(self, name):
        answer = build_network(name, SLIM, 256, outputs=3)(np.random.default_rng(0).random((2, 256, 256, 1), np.float32))
        assert answer.shape == (2, 256, 256, 3)
        assert 0 <= float(np.min(answer)) < float(np.max(answer)) <= 1

    def test_same_seed_gives_the_same_weights_and_another_seed_others(self, name):
        first, again, other = (build_network(name, SLIM, 256, seed=seed).get_weights() for seed in (1, 1, 2))
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
        assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))

    def test_only_the_output_block_depends_on_the_number_of_structures(self, name):
        one, six = (build_network(name, SLIM, 256, outputs=n) for n in (1, 6))
        changed = {a.path.split("/")[0] for a, b in zip(one.weights, six.weights, strict=True) if a.shape != b.shape}
        assert changed == {layer.name for layer in one.layers if is_head(name, layer.name) and layer.weights}
        assert len(changed) == 1

    def test_no_structures_are_refused(self, name):
        with pytest.raises(ConfigError, match="0 outputs"):
            build_network(name, SLIM, 256, outputs=0)


@pytest.mark.parametrize(
    ("name", "said"),
    [("unet", r"networks\.unet\.base_filters$"), ("modified-unet", r"networks\.modified_unet\.encoder_filters and ")],
)
def test_weights_that_memory_does_not_hold_are_refused_with_the_setting(monkeypatch, name, said):
    def exhaust(*_arguments, **_options):
        # With base_filters of a million TensorFlow itself tries for ten seconds.
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(layers, "Conv2D", exhaust)
    with pytest.raises(ConfigError, match=f"memory does not hold the weights of {name}; lower {said}"):
        build_network(name, SLIM, 256)
