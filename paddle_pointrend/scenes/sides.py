"""What borders a street: house rows, walls, fences, parks, and what closes the view at its end."""

import numpy as np

from paddle_pointrend.scenes.canvas import GRASS, PLASTER, SMOOTH, blobs
from paddle_pointrend.scenes.furniture import leaf_clusters, tree
from paddle_pointrend.scenes.vehicles import GLASS, PAINTS

SKY, GROUND, SIDES, THINGS, BONNET = range(5)  # layers, drawn in this order
STREET_END = 120.0  # metres
CURB = 0.12
STONES = np.array(
    [
        [168, 150, 126],
        [150, 92, 72],
        [190, 184, 172],
        [120, 116, 112],
        [204, 176, 128],
        [134, 104, 90],
        [176, 128, 104],
    ],
    float,
)
LAWNS = np.array([[104, 118, 60], [128, 122, 74], [92, 110, 54]], float)


def ground(x0, x1, z0, z1, y=0.0, pieces=1):
    """Rectangles on the ground [pieces, 4, 3], cut along Z so that they follow a bending street."""
    z = np.linspace(z0, z1, pieces + 1)
    # Equal steps in 1 / Z are equal steps in the picture.
    if pieces > 1:
        z = 1 / np.linspace(1 / z0, 1 / z1, pieces + 1)
    near, far = z[:-1], z[1:]
    x = np.broadcast_to(np.array([x0, x0, x1, x1], float), (pieces, 4))
    return np.stack([x, np.full((pieces, 4), float(y)), np.stack([near, far, far, near], -1)], -1)


def upright(x, z0, z1, y0, y1):
    """Rectangle [4, 3] in the plane X = x."""
    return np.array([[x, y0, z0], [x, y1, z0], [x, y1, z1], [x, y0, z1]], float)


def facing(x0, x1, z, y0, y1):
    """Rectangle [4, 3] that faces the camera."""
    return np.array([[x0, y0, z], [x0, y1, z], [x1, y1, z], [x1, y0, z]], float)


def _panes(low, high, y, width, tall):
    """Windows in rows at the heights y, from low to high: arrays a0, a1, y0, y1 of equal length."""
    count = max(1, int((high - low) // (width * 1.9)))
    along = low + (np.arange(count) + 0.5) * (high - low) / count
    a, b = np.meshgrid(along, y)
    a, b = a.ravel(), b.ravel()
    return a - width / 2, a + width / 2, b, b + tall


def building(scene, side, x, z0, z1, height):
    """A house whose front is the plane X = x; `side` is -1 on the left of the street, 1 on the right."""
    rng = scene.rng
    colour = STONES[rng.integers(len(STONES))] * rng.uniform(0.75, 1.15) + rng.normal(0, 5, 3)
    front = colour * scene.light.shade(np.array([-side, 0, 0.0]))
    gable = colour * scene.light.shade(np.array([0, 0, -1.0])) * 0.95
    storey = rng.uniform(2.9, 3.5)
    height = max(2, round(height / storey)) * storey + 0.6
    depth = 11 * side
    roof = np.array([[120, 62, 48], [84, 80, 84], [98, 70, 56]], float)[rng.integers(3)] * rng.uniform(0.8, 1.1)
    pitch = rng.uniform(1.6, 3.6) if rng.random() < 0.65 else 0.0
    near = facing(x, x + depth, z0, 0, height)
    if pitch:
        near = np.insert(near, 2, [x + depth / 2, height + pitch, z0], axis=0)
    scene.at(SIDES, z0)
    scene.cast([near, upright(x, z0, z1, 0, height)])
    if pitch:
        ridge = x + depth / 2
        eaves, top = x - 0.3 * side, height + pitch
        slope = np.array([[eaves, height, z0], [ridge, top, z0], [ridge, top, z1], [eaves, height, z1]])
        scene.add(slope, "building", roof, PLASTER)
    for z in rng.uniform(z0, z1, rng.integers(0, 3)):
        chimney = x + rng.uniform(1.5, 5) * side
        scene.add(
            facing(chimney, chimney + 0.7 * side, z, height, height + pitch + rng.uniform(0.5, 1.3)),
            "building",
            roof * 0.8,
        )
    scene.add(near, "building", gable, PLASTER)
    scene.add(upright(x, z0, z1, 0, height), "building", front, PLASTER)
    ledge = np.array([upright(x - 0.02 * side, z0, z1, y, y + 0.16) for y in (storey, height - 0.25)])
    scene.add(ledge, "building", front * 1.18, PLASTER)
    _front_windows(scene, side, x, z0, z1, height, storey, front)
    a0, a1, y0, y1 = _panes(
        min(x, x + depth) + 0.6,
        max(x, x + depth) - 0.6,
        np.arange(1, height // storey) * storey + 1,
        0.9,
        1.3,
    )
    if rng.random() < 0.6:
        z = np.full(len(a0), z0)
        panes = np.stack([np.stack([a0, a0, a1, a1], -1), np.stack([y0, y1, y1, y0], -1), np.stack([z] * 4, -1)], -1)
        scene.add(panes, "building", GLASS * 1.1)


def _front_windows(scene, side, x, z0, z1, height, storey, front):
    rng = scene.rng
    floors = np.arange(1, height // storey) * storey
    wide, tall = rng.uniform(0.9, 1.5), rng.uniform(1.3, 1.8)
    a0, a1, y0, y1 = _panes(z0 + 0.5, z1 - 0.5, floors + 0.9, wide, tall)

    def rectangles(grow, a0=a0, a1=a1, y0=y0, y1=y1):
        z = np.stack([a0 - grow, a0 - grow, a1 + grow, a1 + grow], -1)
        y = np.stack([y0 - grow, y1 + grow, y1 + grow, y0 - grow], -1)
        return np.stack([np.full(z.shape, x - 0.01 * side), y, z], -1)

    dark = GLASS * rng.uniform(0.7, 1.4)
    bright = rng.random(len(a0)) < 0.25
    scene.add(rectangles(0.12), "building", front * rng.choice([0.75, 1.25]), SMOOTH)
    scene.add(rectangles(0.0)[~bright], "building", dark)
    scene.add(rectangles(0.0)[bright], "building", dark + 60)
    if z0 > 50:
        return
    half = 0.5 * (a0 + a1)
    scene.add(rectangles(0.0, half - 0.04, half + 0.04), "building", front * 1.1)
    if rng.random() < 0.4:
        some = rng.random(len(a0)) < 0.4
        scene.add(rectangles(0.25, a0, a1, y0 - 0.1, y0 + 0.45)[some], "building", front * 0.6)
    shop = STONES[rng.integers(len(STONES))] * rng.uniform(0.4, 0.9)
    scene.add(upright(x - 0.02 * side, z0, z1, 0, storey - 0.3), "building", shop, PLASTER)
    a0, a1, y0, y1 = _panes(z0 + 0.3, z1 - 0.3, np.array([0.6]), rng.uniform(1.4, 2.4), storey - 1.5)
    scene.add(rectangles(0.0, a0, a1, y0, y1), "building", dark * 1.2)
    door = rng.uniform(z0 + 0.5, z1 - 1.5)
    scene.add(upright(x - 0.03 * side, door, door + 1.1, CURB, 2.3), "building", shop * 0.6)
    if rng.random() < 0.5:
        awning = np.array(
            [
                [x, 2.9, z0 + 0.5],
                [x, 2.9, z1 - 0.5],
                [x - 1.1 * side, 2.4, z1 - 0.5],
                [x - 1.1 * side, 2.4, z0 + 0.5],
            ]
        )
        scene.add(awning, "building", PAINTS[rng.integers(len(PAINTS))] * 0.9)


def wall(scene, side, x, z0, z1):
    """A garden wall of bricks or concrete along the street, with a coping."""
    rng = scene.rng
    tall, tone = rng.uniform(1.6, 2.8), STONES[rng.integers(len(STONES))] * rng.uniform(0.6, 0.95)
    tone = tone * scene.light.shade(np.array([-side, 0, 0.0]))
    scene.at(SIDES, z0 - 0.2)
    scene.cast([upright(x, z0, z1, 0, tall)])
    scene.add(upright(x, z0, z1, 0, tall), "wall", tone, PLASTER)
    scene.add(facing(x, x + 0.4 * side, z0, 0, tall), "wall", tone * 0.85, PLASTER)
    courses = np.array([upright(x, z0, z1, y, y + 0.03) for y in np.arange(0.3, tall, 0.3)])
    scene.add(courses, "wall", tone * 0.78)
    posts = np.array([upright(x, z, z + 0.35, 0, tall) for z in np.arange(z0, z1, 3.0)])
    scene.add(posts, "wall", tone * 1.12, PLASTER)
    scene.add(upright(x, z0, z1, tall, tall + 0.14), "wall", tone * 1.25, PLASTER)


def fence(scene, side, x, z0, z1):
    """Bars and rails one sees through, along the street."""
    rng = scene.rng
    tall, tone = (
        rng.uniform(1.1, 1.9),
        np.array([[70, 72, 74], [120, 96, 68], [52, 82, 62], [170, 172, 170]])[rng.integers(4)],
    )
    scene.at(SIDES, z0 - 0.2)
    spacing, thick = (0.22, 0.05) if rng.random() < 0.6 else (0.16, 0.1)
    bars = np.arange(z0, z1, spacing)
    bars = bars[bars > 0.9]
    posts = np.array([upright(x, z, z + 0.11, CURB, tall + 0.1) for z in np.arange(z0, z1, 2.5)])
    scene.add(np.array([upright(x, z, z + thick, CURB, tall) for z in bars]), "fence", tone, loose=True)
    scene.add(posts, "fence", tone * 0.85)
    for y in (0.35, tall - 0.15):
        scene.add(upright(x, z0, z1, y, y + 0.08), "fence", tone * 1.1)
    scene.cast([upright(x, z, z + 0.11, 0, tall) for z in bars[::4]])


def park(scene, side, x, z0, z1, lane_edge):
    """Lawn with trees and bushes, often behind a fence."""
    rng = scene.rng
    scene.at(GROUND, 11)
    lawn = np.array([[104, 118, 60], [128, 122, 74], [92, 110, 54]], float)[rng.integers(3)] * rng.uniform(0.85, 1.15)
    edge = x - side * rng.uniform(0.0, 0.6) * abs(x - lane_edge)
    scene.add(ground(edge, x + 40 * side, max(z0, 0.9), z1, CURB), "terrain", lawn, GRASS, lit=0.9)
    for z in np.sort(rng.uniform(z0, z1, rng.integers(1, 4)))[::-1]:
        offset = rng.uniform(2.0, 9.0)
        scene.at(SIDES, max(z, 1.0))
        if rng.random() < 0.7:
            tree(scene, x + side * offset, z, rng.uniform(0.9, 1.5))
        else:
            bush = np.array([x + side * offset, 0.8, z]) + rng.normal(0, 1, (5, 3)) * [1.2, 0.25, 0.3]
            leaf_clusters(scene, bush, 0.9)
    scene.at(GROUND, 10)
    tufts = np.stack([np.full(14, edge), np.full(14, CURB), rng.uniform(max(z0, 2.5), max(z1, 3), 14)], -1)
    size = scene.camera.focal / tufts[:, 2:] * [0.45, 0.09]
    outlines = blobs(rng, scene.camera.project(tufts), size, 0.3, 24)
    scene.add_flat(outlines, "terrain", lawn * rng.uniform(0.9, 1.05), GRASS, loose=True, lit=0.9)


def street_side(scene, side, front, kerb):
    """One side of the street from the camera to its end: houses, walls, fences and parks in a row."""
    rng = scene.rng
    mood = rng.dirichlet([2.3, 1.5, 0.6, 0.8])
    z = rng.uniform(-6, 1)
    while z < STREET_END:
        length = max(rng.uniform(8, 18), 5 - z)
        kind = rng.choice(4, p=mood)
        stop = z + length
        x = front + side * rng.uniform(0, 0.8)
        if kind != 0:
            if rng.random() < 0.5:
                building(scene, side, x + side * rng.uniform(9, 22), max(z, 2), stop + 4, rng.uniform(5, 12))
            park(scene, side, x, z, stop, kerb)
        if kind == 0:
            building(scene, side, x, max(z, 0.9), stop, rng.uniform(6, 17))
            stop += rng.uniform(0, 5) * (rng.random() < 0.35)
        elif kind == 2:
            wall(scene, side, x, max(z, 0.9), stop)
        elif kind == 3 or rng.random() < 0.3:
            fence(scene, side, x, max(z, 0.9), stop)
        z = stop


def street_end(scene, left, right):
    """What closes the view: houses and trees across the end of the street."""
    rng = scene.rng
    x = left - 70
    while x < right + 70:
        width = rng.uniform(6, 14)
        z = STREET_END - 2 + rng.uniform(-4, 1)
        scene.at(SIDES, z)
        if rng.random() < 0.5:
            tall, tone = rng.uniform(6, 15), STONES[rng.integers(len(STONES))] * rng.uniform(0.6, 1.0)
            house = facing(x, x + width, z, -6, tall)
            scene.add(
                np.insert(house, 2, [x + width / 2, tall + rng.uniform(0, 3), z], axis=0),
                "building",
                tone,
                PLASTER,
            )
            panes = [
                facing(a, a + 1, z, y, y + 1.6)
                for a in np.arange(x + 1, x + width - 1, 2.2)
                for y in np.arange(2, tall - 2, 3.2)
            ]
            scene.add(np.array(panes), "building", GLASS * 1.3)
        else:
            crowns = np.array([x, 3, z]) + rng.uniform(0, 1, (4, 3)) * [width, 5, 0]
            scene.add_flat(
                [scene.camera.project(facing(x, x + width, z, -6, 3))],
                "vegetation",
                np.array([70, 84, 52]),
                GRASS,
            )
            leaf_clusters(scene, crowns, rng.uniform(2.5, 4.5))
        x += width
