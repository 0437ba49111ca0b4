import gc

import numpy as np
import torch

from trainer.buffers import Buffers


def address(array):
    return array.__array_interface__["data"][0]


def test_memory_comes_back_once_nobody_holds_any_of_it():
    buffers = Buffers((4, 8), most_kept=2)
    loan = buffers.take()
    where = address(loan)
    view = torch.from_numpy(loan).flatten(0, 1)[3:]
    as_array = view.numpy()[2:]
    del loan
    assert address(other := buffers.take()) != where
    del view
    assert address(another := buffers.take()) not in (where, address(other))
    del as_array
    gc.collect()
    assert address(buffers.take()) == where
    assert address(another) != where


def test_no_more_is_kept_than_said():
    buffers = Buffers((1 << 20,), most_kept=2)
    loans = [buffers.take() for _ in range(5)]
    places = {address(loan) for loan in loans}
    del loans
    assert len(buffers._free) == 2
    assert {address(loan) for loan in (buffers.take(), buffers.take())} <= places


def test_an_array_may_outlive_its_buffers():
    loan = Buffers((3,), most_kept=1).take()
    loan[:] = 7
    gc.collect()
    assert (loan == np.full(3, 7)).all()
