def upsample(maps, size):
    import torch

    return (
        torch.nn.functional.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]
        if len(maps)
        else maps.new_zeros((0, *size))
    )


def pseudo_mask(*a, **k):
    raise NotImplementedError
