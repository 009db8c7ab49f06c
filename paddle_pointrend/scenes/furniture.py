"""What stands along a street: lamps, signals, signs, bins, trees."""

from itertools import pairwise

import numpy as np

from paddle_pointrend.scenes.canvas import LEAVES, PLASTER, above, blobs
from paddle_pointrend.scenes.vehicles import METAL


def _shaft(scene, x, z, height, radius, colour, floor=0.12):
    foot = np.array([x, floor, z])
    top = foot + above(height)
    scene.limb(foot, top, radius, radius * 0.8, "pole", colour)
    scene.limb(foot, foot + above(min(0.9, height / 3)), radius * 1.5, radius * 1.4, "pole", colour * 0.85)
    scene.cast_bar(foot, top, radius)
    return top


def lamp_post(scene, x, z, towards):
    """A street lamp: a thin pole with a curved arm over the road (`towards` is -1 or 1)."""
    rng = scene.rng
    colour = METAL * rng.uniform(0.5, 1.2)
    top = _shaft(scene, x, z, rng.uniform(5.5, 8.5), rng.uniform(0.06, 0.09), colour)
    steps = np.linspace(0, 1, 5)
    arm = top + np.stack([towards * 1.7 * steps, 0.7 * np.sin(0.5 * np.pi * steps), 0 * steps], -1)
    for start, end in pairwise(arm):
        scene.limb(start, end, 0.045, 0.04, "pole", colour)
    scene.limb(arm[-1], arm[-1] + [towards * 0.45, -0.03, 0], 0.08, 0.1, "pole", colour * 1.25)


def _signal(scene, centre, size=1.0):
    """Three lamps in a dark case, visor and bright rim as on real signals."""
    scene.at(scene.layer, scene.depth)  # an object of its own, also beside another one on its pole
    x, y, z = centre
    half, tall = 0.17 * size, 0.5 * size
    case = np.array(
        [[x - half, y - tall, z], [x - half, y + tall, z], [x + half, y + tall, z], [x + half, y - tall, z]]
    )
    scene.add(case, "traffic light", [34, 36, 36], loose=True)
    on = scene.rng.integers(3)
    lamps = ([230, 50, 40], [240, 180, 40], [60, 210, 120])
    for i, lamp in enumerate(lamps):
        spot = np.array([x, y + (1 - i) * 0.31 * size, z])
        colour = np.array(lamp) if i == on else np.array(lamp) * 0.28
        scene.limb(spot, spot, 0.11 * size, 0.11 * size, "traffic light", colour)


def traffic_light(scene, x, z, towards):
    """A signal on its pole, sometimes with a second one on an arm over the road."""
    rng = scene.rng
    colour = METAL * rng.uniform(0.4, 1.1)
    if rng.random() < 0.5:
        top = _shaft(scene, x, z, 5.6, 0.08, colour)
        reach = top + np.array([towards * rng.uniform(2.0, 3.6), 0.1, 0])
        scene.limb(top, reach, 0.06, 0.045, "pole", colour)
        _signal(scene, reach - above(0.5), 1.1)
    else:
        _shaft(scene, x, z, 3.3, 0.06, colour)
    _signal(scene, np.array([x, 2.9, z - 0.1]))


def sign(scene, x, z, height=2.4):
    """A traffic sign on a thin pole: disc, triangle, octagon, plate or diamond."""
    rng = scene.rng
    _shaft(scene, x, z, height + 0.4, 0.035, METAL * rng.uniform(0.7, 1.2))
    centre, kind = np.array([x, height + 0.1, z - 0.05]), rng.integers(5)
    corners = (24, 3, 8, 4, 4)[kind]
    radius = (0.36, 0.44, 0.4, 0.42, 0.44)[kind] * rng.uniform(0.9, 1.15)
    turn = (0, np.pi / 2, np.pi / 8, np.pi / 4, 0)[kind]
    outer = ([196, 30, 36], [196, 30, 36], [190, 28, 34], [28, 70, 160], [245, 245, 240])[kind]
    inner = ([240, 240, 236], [242, 242, 238], [190, 28, 34], [30, 76, 170], [236, 186, 30])[kind]
    angle = turn + np.arange(corners) * 2 * np.pi / corners
    ring = np.stack([np.cos(angle), np.sin(angle), 0 * angle], -1)
    scene.add(centre + radius * ring, "traffic sign", outer, loose=True)
    scene.add(centre + 0.76 * radius * ring, "traffic sign", inner)
    stroke = [30, 30, 34] if kind in (0, 1) else [244, 244, 242]
    if kind != 4:
        reach = np.array([0.3 * radius, 0, 0])
        scene.limb(centre - reach, centre + reach, 0.05, 0.05, "traffic sign", stroke)


def litter_bin(scene, x, z):
    """Street furniture that belongs to no class: ignored in the label."""
    colour = np.array([[60, 80, 64], [90, 92, 96], [140, 70, 30]], float)[scene.rng.integers(3)]
    foot = np.array([x, 0.3, z])
    scene.limb(foot, foot + above(0.55), 0.24, 0.27, "ignore", colour, PLASTER)
    scene.cast_bar(foot, foot + above(0.8), 0.25)


def _branches(rng, starts, angles, lengths, radius, levels):
    """Fork bars again and again: (ends [n, 2, 3], radii [n, 2], tips [m, 3])."""
    ends, radii, tips = [], [], []
    for level in range(levels):
        reach = np.stack([np.sin(angles), np.cos(angles), 0.25 * rng.normal(size=len(angles))], -1)
        stops = starts + lengths[:, None] * reach
        ends.append(np.stack([starts, stops], 1))
        radii.append(np.repeat([[radius, 0.65 * radius]], len(starts), axis=0))
        if level:
            tips.append(stops)
        spread = rng.uniform(0.25, 0.75, (2, len(angles))) * [[-1], [1]]
        angles, starts = (angles + spread).ravel(), np.tile(stops, (2, 1))
        lengths, radius = np.tile(lengths, 2) * rng.uniform(0.6, 0.82, 2 * len(lengths)), 0.62 * radius
    return np.concatenate(ends), np.concatenate(radii), np.concatenate(tips)


def tree(scene, x, z, size=1.0):
    """A tree: trunk, forking branches and leaf clusters with ragged outlines; one in six is bare."""
    rng = scene.rng
    if not scene.camera.sees(x, max(z, 1.0), 5 * size):
        return
    bark = np.array([84.0, 72, 58]) * rng.uniform(0.6, 1.2)
    foot = np.array([x, 0.0, z])
    top = foot + np.array([rng.normal(0, 0.1), rng.uniform(1.8, 2.8) * size, 0])
    radius = rng.uniform(0.13, 0.2) * size
    scene.limb(foot, top, radius * 1.25, radius, "vegetation", bark, PLASTER)
    scene.cast_bar(foot, top, radius)
    bare = rng.random() < 0.17
    levels = 5 if bare and z < 40 else 3 if z < 40 else 2  # twigs farther away are below any pixel
    lengths = rng.uniform(1.1, 1.6, 3) * size
    ends, radii, tips = _branches(rng, np.tile(top, (3, 1)), rng.uniform(-0.7, 0.7, 3), lengths, 0.6 * radius, levels)
    scene.limbs(ends, radii, "vegetation", bark, PLASTER)
    if not bare:
        leaf_clusters(scene, tips, rng.uniform(0.65, 1.05) * size)


def leaf_clusters(scene, centres, radius):
    """Ragged leaf clusters around world points [n, 3]: dark ones first, then tufts lit by the sun."""
    rng = scene.rng
    green = np.array([[72, 96, 48], [88, 106, 44], [56, 84, 50], [118, 104, 44]], float)[rng.integers(4)]
    green = green * rng.uniform(0.75, 1.15)
    centres = centres[centres[:, 2] > 1.5]
    if len(centres) == 0:
        return
    flat, reach = scene.camera.project(centres), radius * scene.camera.focal / centres[:, 2:]
    sunny = np.array([-np.sign(scene.light.drift[0]) * 0.22, -0.28])
    tufts = (
        (0.68, 0.0, 1.0, 46),
        (0.82, 0.3, 0.7, 30),
        (0.98, 0.55, 0.55, 30),
        (1.13, 0.8, 0.32, 24),
        (1.28, 1.0, 0.25, 24),
    )
    for tone, shift, share, steps in tufts[:: 1 if scene.depth < 40 else 2]:
        size = reach * share * rng.uniform(0.8, 1.25, reach.shape)
        middle = flat + reach * shift * (sunny + rng.normal(0, 0.35, flat.shape))
        outlines = blobs(rng, middle, size * [1.0, 0.8], 0.22, steps)
        scene.add_flat(outlines, "vegetation", green * tone * rng.uniform(0.95, 1.05), LEAVES, loose=True)
    angle = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    for point in centres[:: max(1, len(centres) // 5)]:
        disc = radius * np.stack([np.cos(angle), 0 * angle, np.sin(angle)], -1) * rng.uniform(0.7, 1.1, (14, 1))
        scene.cast([point + disc])
