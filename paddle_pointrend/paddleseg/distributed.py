"""Which of several processes this is, and what all of them have."""

from typing import Any

import paddle


def rank_and_size() -> tuple[int, int]:
    """This process's number and how many PaddlePaddle's launcher started; (0, 1) without it."""
    environment = paddle.distributed.ParallelEnv()
    return environment.rank, environment.world_size


def gather(share: Any) -> list[Any]:
    """Collects what each process has, in all of them, in the order of the processes."""
    if rank_and_size()[1] == 1:
        return [share]
    if not paddle.distributed.is_initialized():
        paddle.distributed.init_parallel_env()
    shares: list[Any] = []
    paddle.distributed.all_gather_object(shares, share)
    return shares
