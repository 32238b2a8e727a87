"""Published weights into the network, and what is refused."""

from dataclasses import replace

import pytest
import torch

from laptime.errors import DataProblem
from laptime.training.data.safetensors_files import Checkpoint, write_checkpoint
from laptime.training.nn.llama import Llama, initialise
from laptime.training.nn.llama_checkpoint import check_weights, load_weights, parameter_names, weights_of
from laptime.training.nn.llama_config import LlamaConfig
from laptime.training.seeds import Seeds

TINY = LlamaConfig(layers=2, hidden=8, intermediate=12, heads=2, key_value_heads=1, head_size=4, vocabulary=20, rope_positions=16)


@pytest.fixture
def published(tmp_path):
    """(network, its checkpoint in bfloat16, in two files)."""
    model = Llama(TINY).to(torch.bfloat16)
    initialise(model, Seeds(4))
    weights = weights_of(model, torch.bfloat16)
    names = parameter_names(TINY)
    assert list(weights) == names
    write_checkpoint(tmp_path, [{name: weights[name] for name in names[:5]}, {name: weights[name] for name in names[5:]}])
    return model, Checkpoint.open(tmp_path)


def test_weights_come_back_in_the_dtype_of_the_network(published):
    theirs, checkpoint = published
    check_weights(TINY, checkpoint)
    ours = Llama(TINY)
    load_weights(ours, checkpoint)
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert mine.dtype == torch.float32
        assert torch.equal(mine, other.float()), name


def test_a_checkpoint_of_transformers_gives_its_scores(tmp_path):
    transformers = pytest.importorskip("transformers")
    rope = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16}
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=20, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, head_dim=4,
        rms_norm_eps=1e-5, rope_parameters=rope, max_position_embeddings=128, tie_word_embeddings=False)).eval()
    theirs.save_pretrained(tmp_path)
    ours = Llama(TINY).eval()
    load_weights(ours, Checkpoint.open(tmp_path))
    tokens = torch.arange(12)[None]
    assert torch.allclose(ours(tokens, torch.arange(12)), theirs(tokens).logits, atol=1e-5)


@pytest.mark.parametrize(("change", "says"), [
    ({"layers": 3}, r"of 'model.layers.2\..* in the starting checkpoint, found None"),
    ({"vocabulary": 30}, r"expected shape \(30, 8\) of 'model.embed_tokens.weight' .* found \(20, 8\)")])
def test_weights_of_another_network_are_refused(published, change, says):
    with pytest.raises(DataProblem, match=says):
        check_weights(replace(TINY, **change), published[1])


def test_parameters_without_storage_stay_as_they_are(published):
    with torch.device("meta"):
        model = Llama(TINY)
    load_weights(model, published[1])
    assert all(parameter.is_meta for parameter in model.parameters())
