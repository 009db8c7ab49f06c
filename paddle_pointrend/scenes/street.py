"""A whole street scene: sky, road, sidewalks, and who is where on them."""

from itertools import pairwise

import numpy as np

from paddle_pointrend.scenes.canvas import ASPHALT, CLOUDS, GRASS, PLASTER, SMOOTH, Camera, Light, Scene, blobs
from paddle_pointrend.scenes.figures import bicycle, motorcycle, person, rider
from paddle_pointrend.scenes.furniture import lamp_post, litter_bin, sign, traffic_light, tree
from paddle_pointrend.scenes.sides import (
    BONNET,
    CURB,
    GROUND,
    LAWNS,
    SKY,
    STREET_END,
    THINGS,
    ground,
    street_end,
    street_side,
)
from paddle_pointrend.scenes.vehicles import PAINTS, bus, car, train, truck


def ribbon(x0, x1, z0, z1, y=0.0, steps=24):
    """One closed outline [2 * steps, 3] of a strip along the street."""
    z = 1 / np.linspace(1 / max(z0, 0.9), 1 / z1, steps)
    left = np.stack([np.full(steps, float(x0)), np.full(steps, float(y)), z], -1)
    right = np.stack([np.full(steps, float(x1)), np.full(steps, float(y)), z[::-1]], -1)
    return np.concatenate([left, right])


def new_scene(rng, aspect):
    """An empty scene with a chosen camera, sun and air."""
    sun = float(rng.choice([0.15, 0.55, 0.9]) * rng.uniform(0.8, 1.1))
    drift = (rng.uniform(-1.3, 1.3), rng.uniform(-0.5, 1.2))
    grey = rng.uniform(190, 225)
    light = Light(drift, sun, rng.uniform(0.001, 0.006), (grey, grey + 3, grey + 8))
    camera = Camera(
        aspect=aspect,
        focal=rng.uniform(1.05, 1.45),
        horizon=rng.uniform(0.4, 0.5),
        centre=aspect / 2 + rng.uniform(-0.16, 0.16),
        height=rng.uniform(1.25, 1.7),
        bend=rng.normal(0, 0.0009),
        climb=rng.normal(0, 0.0001),
    )
    return Scene(rng, camera, light)


def sky(scene):
    """Bands from zenith to horizon and soft clouds."""
    rng, aspect = scene.rng, scene.camera.aspect
    scene.at(SKY, 0)
    zenith = np.array([88, 130, 188.0]) * scene.light.sun + np.array([176, 182, 190.0]) * (1 - scene.light.sun)
    horizon = np.array(scene.light.haze_colour) * 1.04
    edges = np.linspace(0, 0.6, 19)
    for y0, y1 in pairwise(edges):
        share = min(1.0, y0 / 0.5)
        band = np.array([[0, y0], [aspect, y0], [aspect, y1], [0, y1]])
        scene.add_flat([band], "sky", zenith * (1 - share) + horizon * share, CLOUDS)
    for _ in range(rng.integers(0, 6)):
        centres = rng.uniform((0, 0.02), (aspect, 0.35)) + rng.normal(0, (0.1, 0.02), (5, 2))
        puffs = blobs(rng, centres, rng.uniform((0.06, 0.02), (0.22, 0.05), (5, 2)), 0.15)
        scene.add_flat(puffs, "sky", np.array([214, 216, 220]) * rng.uniform(0.97, 1.05), CLOUDS, loose=True)


def road(scene, left, right, crossing):
    """Asphalt between the kerbs X = left and right, patches, lane marks, a zebra crossing at Z = crossing."""
    rng = scene.rng
    scene.at(GROUND, STREET_END)
    scene.depth = 12.0
    tone = rng.uniform(66, 108) + rng.normal(0, 2, 3)
    scene.add(ribbon(left, right, 0.9, STREET_END), "road", tone, ASPHALT, lit=1.0)
    for _ in range(rng.integers(2, 7)):
        x, z = rng.uniform(left, right - 1.2), rng.uniform(4, 30)
        patch = ground(x, min(x + rng.uniform(0.5, 2.5), right), z, z + rng.uniform(0.6, 7))
        scene.add(patch, "road", tone * rng.uniform(0.84, 1.12), ASPHALT, lit=1.0)
    for x in rng.uniform(left + 0.6, right - 0.6, 2):
        z, angle = rng.uniform(5, 22), np.linspace(0, 2 * np.pi, 16, endpoint=False)
        cover = np.stack([x + 0.32 * np.cos(angle), 0 * angle, z + 0.32 * np.sin(angle)], -1)
        scene.add(cover, "road", tone * 0.6, SMOOTH, lit=1.0)
    paint = np.full(3, rng.uniform(185, 228))
    middle = 0.5 * (left + right)
    dashes = np.arange(rng.uniform(1, 5), 70, 6.0)
    dashes = dashes[abs(dashes + 1.5 - crossing) > 4]
    for x in (middle,) if right - left < 9 else (middle - 3.1, middle, middle + 3.1):
        marks = np.concatenate([ground(x - 0.07, x + 0.07, z, z + 3) for z in dashes + 0.9])
        scene.add(marks, "road", paint, ASPHALT, lit=1.0)
    if rng.random() < 0.6:
        for x in (left + 0.35, right - 0.35):
            scene.add(ribbon(x - 0.05, x + 0.05, 0.9, 70), "road", paint * 0.94, ASPHALT, lit=1.0)
    if crossing < 40:
        stripes = [ground(x, x + 0.5, crossing, crossing + 3.2) for x in np.arange(left + 0.3, right - 0.5, 1.05)]
        scene.add(np.concatenate(stripes), "road", paint, ASPHALT, lit=1.0)
        stop = ground(middle + 0.1, right - 0.2, crossing - 1.6, crossing - 1.2)
        scene.add(stop, "road", paint, ASPHALT, lit=1.0)


def sidewalk(scene, kerb, outer, tone):
    """Raised pavement from the kerb outwards, with its kerb stone and slabs."""
    scene.add(ribbon(kerb, outer, 0.9, STREET_END, CURB), "sidewalk", tone, PLASTER, lit=0.9)
    side = np.sign(outer - kerb)
    scene.add(ribbon(kerb, kerb + 0.16 * side, 0.9, 60, CURB), "sidewalk", tone * 1.16, PLASTER, lit=0.9)
    z = 1 / np.linspace(1 / 0.9, 1 / 60, 20)
    face = np.stack([np.full(40, kerb), np.repeat([0, CURB], 20), np.concatenate([z, z[::-1]])], -1)
    scene.add(face, "sidewalk", tone * 0.7, SMOOTH, lit=0.6)
    joints = [ground(kerb + 0.2 * side, kerb + 4 * side, z, z + 0.035, CURB) for z in np.arange(1.2, 16, 1.1)]
    scene.add(np.concatenate(joints), "sidewalk", tone * 0.8, SMOOTH, lit=0.9)


class Places:
    """Hands out positions of which no two overlap."""

    def __init__(self, rng):
        self.rng, self.taken = rng, []

    def find(self, x_range, z_range, room, tries=12):
        """A free (x, z), nearer ones likelier, or None; `room` = (half width, half length) in metres."""
        for _ in range(tries):
            x = self.rng.uniform(*x_range)
            z = z_range[0] + (z_range[1] - z_range[0]) * self.rng.beta(1.0, 1.7)
            if all(abs(x - a) > room[0] + p or abs(z - b) > room[1] + q for a, b, p, q in self.taken):
                self.taken.append((x, z, *room))
                return x, z
        return None


def furniture(scene, places, left, right, crossing):
    """Poles, signals, signs, bins and street trees along both kerbs."""
    rng = scene.rng
    for side, kerb in ((-1, left), (1, right)):
        jobs = [(lamp_post, (-side,))] * rng.integers(1, 4) + [(sign, ())] * rng.integers(1, 5)
        jobs += [(litter_bin, ())] * rng.integers(0, 2) + [(traffic_light, (-side,))] * rng.integers(0, 3)
        jobs += [(tree, ())] * rng.integers(0, 4)
        if crossing < 40:
            place = (kerb + side * 0.5, crossing - 0.5)
            places.taken.append((*place, 0.3, 0.3))
            scene.at(THINGS, place[1])
            traffic_light(scene, *place, -side)
        for draw, extra in jobs:
            band = (kerb + side * 0.35, kerb + side * (0.9 if draw is not tree else 1.3))
            place = places.find((min(band), max(band)), (4.5, 42), (0.3, 0.5))
            if place:
                scene.at(THINGS, place[1])
                draw(scene, *place, *extra)


def traffic(scene, places, left, right):
    """Vehicles and cycles in the lanes and along the kerbs."""
    rng = scene.rng
    middle = 0.5 * (left + right)
    away, towards = (middle + 1.2, right - 1.6), (left + 1.6, middle - 1.2)
    jobs = [(car, (1.1, 2.6))] * rng.integers(1, 5)
    for draw, share, room in (
        (bus, 0.33, (1.5, 6.5)), (truck, 0.33, (1.5, 4.5)), (train, 0.3, (1.6, 10)),
        (motorcycle, 0.4, (0.6, 1.3)), (rider, 0.55, (0.6, 1.2)), (rider, 0.4, (0.6, 1.2)),
    ):  # fmt: skip
        jobs += [(draw, room)] * (rng.random() < share)
    for draw, room in jobs[::-1]:
        small = draw is rider
        lane, turn = ((away, 0.0), (towards, np.pi))[rng.integers(2)]
        start = 4.5 if small else 8 + room[1]
        place = places.find(sorted(lane), (start, 26 if small else 50), room)
        if place:
            across = small and rng.random() < 0.4
            scene.at(THINGS, place[1] - (0 if small else 0.5))
            draw(scene, *place, turn + (rng.choice([-1.4, 1.4]) if across else rng.normal(0, 0.06)))
    if rng.random() < 0.35:
        place = places.find((left + 0.4, left + 0.9), (4.5, 12), (0.5, 1.3))
        if place:
            scene.at(THINGS, place[1])
            motorcycle(scene, *place, rng.choice([2.4, np.pi, 3.9]))
    for x, turn in ((left + 1.0, np.pi), (right - 1.0, 0.0)):
        z = rng.uniform(4, 14)
        if rng.random() < 0.65:
            for _ in range(rng.integers(1, 6)):
                if all(abs(x - a) > 0.9 + p or abs(z - b) > 2.4 + q for a, b, p, q in places.taken):
                    scene.at(THINGS, z)
                    car(scene, x + rng.normal(0, 0.08), z, turn + rng.normal(0, 0.03))
                    places.taken.append((x, z, 1.0, 2.4))
                z += rng.uniform(5.2, 9)


def people(scene, places, left, right, walk, crossing):
    """Pedestrians on the sidewalks and the crossing, parked cycles on the sidewalks."""
    rng = scene.rng
    for side, kerb in ((-1, left), (1, right)):
        band = sorted((kerb + side * 0.9, kerb + side * max(walk[side] - 0.3, 1.2)))
        for _ in range(rng.integers(0, 9)):
            place = places.find(band, (4.0, 32), (0.3, 0.3))
            if place:
                scene.at(THINGS, place[1])
                person(scene, *place, rng.choice([0, np.pi, np.pi / 2, -np.pi / 2]) + rng.normal(0, 0.4))
        for draw, share in ((bicycle, 0.55), (motorcycle, 0.2)):
            if rng.random() < share:
                place = places.find(band, (4.5, 14), (1.0, 1.2))
                for i in range(rng.integers(1, 4) if place else 0):
                    scene.at(THINGS, place[1] - 0.6 * i)
                    if place[1] - 0.6 * i > 3.5:
                        draw(
                            scene,
                            place[0],
                            place[1] - 0.6 * i,
                            rng.choice([-1, 1]) * (np.pi / 2 + rng.normal(0, 0.25)),
                            CURB,
                        )
    if crossing < 40:
        for _ in range(rng.integers(0, 4)):
            place = places.find((left, right), (crossing + 0.3, crossing + 2.9), (0.3, 0.3))
            if place:
                scene.at(THINGS, place[1])
                person(scene, *place, rng.choice([-1, 1]) * np.pi / 2 + rng.normal(0, 0.2), 0.0)


def bonnet(scene):
    """The front of the car that carries the camera: ignored in the label, as in Cityscapes."""
    rng, aspect = scene.rng, scene.camera.aspect
    scene.at(BONNET, 0.5)
    u = np.linspace(0, 1, 30)
    top = 1 - rng.uniform(0.02, 0.06) * np.sin(np.pi * u) ** 0.4
    outline = np.concatenate([np.stack([u * aspect, top], -1), [[aspect, 1.1], [0, 1.1]]])
    scene.add_flat([outline], "ignore", PAINTS[rng.integers(len(PAINTS))] * 0.6)


def compose(rng: np.random.Generator, aspect: float) -> Scene:
    """A whole street scene as vectors, for pictures of this width / height."""
    scene = new_scene(rng, aspect)
    left, right = -rng.uniform(3.6, 7.5), rng.uniform(2.8, 5.5)
    walk = {-1: rng.uniform(2.0, 5.2), 1: rng.uniform(2.0, 5.2)}
    crossing = rng.uniform(9, 24) if rng.random() < 0.45 else 99.0
    sky(scene)
    scene.at(GROUND, 14)
    tone = np.full(3, rng.uniform(118, 165)) + rng.normal(0, 5, 3)
    scene.add(ribbon(-300, 300, 0.9, STREET_END), "sidewalk", tone * 0.95, PLASTER, lit=0.9)
    for side, kerb in ((-1, left), (1, right)):
        scene.at(GROUND, 13)
        sidewalk(scene, kerb, kerb + side * 30, tone)
        if rng.random() < 0.4:
            strip = kerb + side * 0.2, kerb + side * rng.uniform(1.0, 1.9)
            lawn = LAWNS[rng.integers(len(LAWNS))] * rng.uniform(0.85, 1.15)
            scene.add(ribbon(*strip, 0.9, STREET_END, CURB), "terrain", lawn, GRASS, lit=0.9)
    road(scene, left, right, crossing)
    street_end(scene, left, right)
    for side, kerb in ((-1, left), (1, right)):
        street_side(scene, side, kerb + side * walk[side], kerb)
    places = Places(rng)
    traffic(scene, places, left, right)
    furniture(scene, places, left, right, crossing)
    people(scene, places, left, right, walk, crossing)
    if rng.random() < 0.3:
        bonnet(scene)
    return scene
