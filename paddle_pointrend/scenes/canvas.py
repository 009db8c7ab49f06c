"""Vector scenes: a camera, coloured polygons in depth order, and their rasterisation to image and label.

Frames:
    world   X right, Y up, Z forward, metres; the camera stands at X = Z = 0.
    picture (u, v) in units of the picture's height: u in [0, width / height], v in [0, 1], v down.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from paddle_pointrend.data.cityscapes import CLASSES, IGNORE_INDEX, INSTANCE_CATEGORIES
from paddle_pointrend.data.instance_maps import FACTOR

CATEGORIES = {19: "traffic light", 20: "traffic sign", **INSTANCE_CATEGORIES}  # of instances, by Cityscapes' ids
TRAIN_ID = {name: index for index, name in enumerate(CLASSES)} | {"ignore": IGNORE_INDEX}

# Odd, so that every third sample lies exactly on the centre of a picture's pixel: the label is those samples,
# the image is the mean of all of them, and the two can not disagree about where an edge is.
SUPERSAMPLING = 3
NEAR = 0.8  # metres; what lies nearer to the camera is cut off
SUBPIXEL_BITS = 8

# Strength of (fine, medium, coarse) noise in grey levels.
SMOOTH, PLASTER, ASPHALT = (1.5, 1.0, 1.5), (3.0, 4.0, 6.0), (5.5, 3.0, 5.0)
LEAVES, GRASS, CLOTH, CLOUDS = (15.0, 12.0, 6.0), (11.0, 7.0, 9.0), (3.0, 4.0, 0.0), (0.5, 2.5, 9.0)


@dataclass(frozen=True)
class Camera:
    """Perspective view of a street that may bend: focal length and principal point in picture heights.

    `bend` and `climb` (1/metres) move a point at depth Z sideways and up by `bend * Z**2` and `climb * Z**2`.
    """

    aspect: float
    focal: float
    horizon: float
    centre: float
    height: float
    bend: float = 0.0
    climb: float = 0.0

    def project(self, points: np.ndarray) -> np.ndarray:
        """Projects world points [..., 3] with Z > 0 to picture points [..., 2]."""
        x, y, z = points[..., 0], points[..., 1], points[..., 2]
        flat = np.empty((*points.shape[:-1], 2))
        flat[..., 0] = self.centre + self.focal * (x / z + self.bend * z)
        flat[..., 1] = self.horizon - self.focal * ((y - self.height) / z + self.climb * z)
        return flat

    def sees(self, x, z, reach):
        """Whether a thing at (x, z) that reaches `reach` metres to either side can be in the picture."""
        margin = self.focal * reach / z
        u = self.centre + self.focal * (x / z + self.bend * z)
        return -margin < u < self.aspect + margin


@dataclass(frozen=True)
class Light:
    """Sun and air. `drift` (x, z): where the shadow of a point one metre up falls; strengths in [0, 1]."""

    drift: tuple
    sun: float
    haze: float
    haze_colour: tuple

    def shade(self, normal: np.ndarray) -> float:
        """Computes the brightness factor of a face with this outward `normal` (x, y, z)."""
        to_sun = np.array([-self.drift[0], 1.0, -self.drift[1]])
        cosine = np.dot(normal, to_sun) / (np.linalg.norm(normal) * np.linalg.norm(to_sun) + 1e-9)
        return 0.86 + self.sun * (0.34 * max(cosine, 0.0) - 0.16)


@dataclass
class Shape:
    """Polygons [n, 2] (picture frame) of one class and colour; `key` sorts shapes from back to front.

    `thing` is the number of what it is a part of.
    """

    polygons: list
    class_id: int
    colour: np.ndarray
    texture: tuple
    key: tuple
    loose: bool
    lit: float
    thing: int


def above(metres: float) -> np.ndarray:
    """Returns the way up, as a world vector."""
    return np.array([0.0, metres, 0.0])


def clip_near(polygon: np.ndarray) -> np.ndarray:
    """Cuts a world polygon [n, 3] at Z = NEAR (Sutherland-Hodgman); returns [m, 3], m may be 0."""
    if polygon[:, 2].min() >= NEAR:
        return polygon
    kept = []
    for start, end in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if start[2] >= NEAR:
            kept.append(start)
        if (start[2] >= NEAR) != (end[2] >= NEAR):
            kept.append(start + (end - start) * ((NEAR - start[2]) / (end[2] - start[2])))
    return np.array(kept).reshape(-1, 3)


@dataclass
class Scene:
    """Collects shapes. `rng` is the only source of chance in a scene's layout."""

    rng: np.random.Generator
    camera: Camera
    light: Light
    shapes: list = field(default_factory=list)
    shadows: list = field(default_factory=list)
    layer: int = 0
    depth: float = 0.0
    thing: int = 0

    def at(self, layer: int, depth: float) -> None:
        """Begins a thing in this layer and depth (metres), which what is added from here on belongs to.

        Far is drawn before near.
        """
        self.layer, self.depth, self.thing = layer, float(depth), self.thing + 1

    def add(self, polygons, class_name, colour, texture=SMOOTH, *, loose=False, lit=0.0):
        """Adds world polygons [n, 3], [m, n, 3] or a list of [n, 3].

        loose: the polygons touch no neighbour, so each is drawn over the last and exactly as wide as it is.
        lit: how strongly shadows on the ground darken it, in [0, 1].
        """
        if isinstance(polygons, np.ndarray):
            polygons = polygons if polygons.ndim == 3 else polygons[None]
            if polygons[..., 2].min(initial=np.inf) >= NEAR:
                return self.add_flat(self.camera.project(polygons), class_name, colour, texture, loose, lit)
        cut = [clip_near(np.asarray(polygon)) for polygon in polygons]
        flat = [self.camera.project(polygon) for polygon in cut if len(polygon) > 2]
        return self.add_flat(flat, class_name, colour, texture, loose, lit)

    def add_flat(self, polygons, class_name, colour, texture=SMOOTH, loose=False, lit=0.0):
        """Adds as `add` does, for polygons [n, 2] that are already in the picture frame."""
        if len(polygons) == 0:
            return
        air = 0.0 if self.layer == 0 else 1.0 - np.exp(-self.light.haze * self.depth)
        colour = np.asarray(colour, float) * (1 - air) + np.asarray(self.light.haze_colour) * air
        texture = tuple(strength * (1 - 0.7 * air) for strength in texture)
        key = (self.layer, -self.depth, len(self.shapes))
        self.shapes.append(Shape(polygons, TRAIN_ID[class_name], colour, texture, key, loose, lit, self.thing))

    def limb(self, start, end, start_radius, end_radius, class_name, colour, texture=SMOOTH):
        """Adds a rounded bar between two world points, radii in metres, seen from the camera."""
        radii = np.array([[start_radius, end_radius]])
        self.limbs(np.array([[start, end]], float), radii, class_name, colour, texture)

    def limbs(self, ends, radii, class_name, colour, texture=SMOOTH):
        """Adds many bars of one colour: ends [n, 2, 3] in the world, radii [n, 2] in metres."""
        ahead = ends[..., 2].min(axis=1) >= NEAR
        ends, radii = ends[ahead], radii[ahead]
        outlines = capsules(self.camera.project(ends), radii * self.camera.focal / ends[..., 2])
        self.add_flat(outlines, class_name, colour, texture, loose=True)

    def cast(self, polygons):
        """Lets world polygons throw their shadow on the ground."""
        for polygon in polygons:
            polygon = np.asarray(polygon, float)
            ground = polygon.copy()
            ground[:, 0] += polygon[:, 1] * self.light.drift[0]
            ground[:, 2] += polygon[:, 1] * self.light.drift[1]
            ground[:, 1] = 0.0
            ground = clip_near(ground)
            if len(ground) > 2:
                self.shadows.append(self.camera.project(ground))

    def cast_bar(self, start, end, radius):
        """Casts the shadow of a bar: a quad as wide as the bar."""
        side = np.array([radius, 0.0, 0.0])
        start, end = np.asarray(start, float), np.asarray(end, float)
        self.cast([np.array([start - side, start + side, end + side, end - side])])


HALF_TURN = np.linspace(0.5 * np.pi, 1.5 * np.pi, 6)


def capsules(ends: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Makes outlines [n, 12, 2] of the bands between two discs each: ends [n, 2, 2], radii [n, 2]."""
    reach = ends[:, 1] - ends[:, 0]
    angle = np.arctan2(reach[:, 1], reach[:, 0])[:, None] + np.concatenate([HALF_TURN, HALF_TURN + np.pi])
    arc = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return np.repeat(ends, 6, axis=1) + np.repeat(radii, 6, axis=1)[..., None] * arc


def blobs(
    rng: np.random.Generator, centres: np.ndarray, radii: np.ndarray, roughness: float = 0.25, steps: int = 44
) -> np.ndarray:
    """Makes irregular closed outlines [n, steps, 2]: ellipses (centres, radii [n, 2]) with wavy radius."""
    angle = np.linspace(0, 2 * np.pi, steps, endpoint=False)
    order, strength = np.array([2, 3, 5, 8, 13]), np.array([0.5, 0.45, 0.4, 0.35, 0.35])
    count = len(centres)
    phase = rng.uniform(0, 2 * np.pi, (count, len(order), 1))
    height = strength * rng.normal(size=(count, len(order)))
    wave = np.einsum("nk,nks->ns", height, np.cos(order[:, None] * angle + phase))
    radius = np.clip(1 + roughness * wave, 0.35, 1.8)[..., None]
    return centres[:, None] + radii[:, None] * radius * np.stack([np.cos(angle), np.sin(angle)], -1)


def _corners(shapes, scale):
    """Fixed-point corners of the polygons of all shapes: a list of int32 [n, 2] for each shape.

    OpenCV also paints the pixels that an outline passes through, which would make a thin bar about one
    sample too wide; the outlines of loose shapes are therefore drawn half a sample further in. Other shapes
    share edges with their neighbours, and must not leave cracks between them.
    """
    polygons = [polygon for shape in shapes for polygon in shape.polygons]
    counts = np.array([len(polygon) for polygon in polygons])
    loose = np.repeat([shape.loose for shape in shapes], [len(shape.polygons) for shape in shapes])
    ends = np.cumsum(counts)
    starts = ends - counts
    corners = np.concatenate(polygons) * scale
    following, before = np.arange(len(corners)) + 1, np.arange(len(corners)) - 1
    following[ends - 1], before[starts] = starts, ends - 1
    edge = corners[following] - corners
    length = np.hypot(edge[:, 0], edge[:, 1])
    cross = corners[:, 0] * corners[following, 1] - corners[following, 0] * corners[:, 1]
    area, girth = 0.5 * np.add.reduceat(cross, starts), np.add.reduceat(length, starts)
    # Twice area / girth is the width of a bar: an outline never moves in beyond the middle.
    inset = np.sign(area) * np.minimum(0.5, np.abs(area) / np.maximum(girth, 1e-9)) * loose
    normal = np.stack([-edge[:, 1], edge[:, 0]], -1) / np.maximum(length, 1e-9)[:, None]
    both = normal + normal[before]
    mitre = both / np.maximum(1 + (normal * normal[before]).sum(-1), 0.5)[:, None]
    limit = 30 * scale
    moved = np.clip(corners + np.repeat(inset, counts)[:, None] * mitre - 0.5, -limit, limit)
    fixed = np.rint(moved * (1 << SUBPIXEL_BITS)).astype(np.int32)
    pieces = iter([fixed[start:end] for start, end in zip(starts, ends, strict=True)])
    return [[next(pieces) for _ in shape.polygons] for shape in shapes]


def _paint(canvas, shapes):
    """Writes every shape's index into `canvas`, a shape over those before it."""
    for index, (shape, pieces) in enumerate(zip(shapes, _corners(shapes, canvas.shape[0]), strict=True)):
        for group in [[piece] for piece in pieces] if shape.loose else [pieces]:
            cv2.fillPoly(canvas, group, index, shift=SUBPIXEL_BITS)


def _shadow(polygons, height, width):
    """Share of the sun that the shadows take, 0-1, with soft edges: float32 [H, W]."""
    mask = np.zeros((height, width), np.uint8)
    factor = height * (1 << SUBPIXEL_BITS)
    for polygon in polygons:
        fixed = np.clip(np.rint(polygon * factor), -30 * factor, 30 * factor).astype(np.int32)
        cv2.fillPoly(mask, [fixed], 255, shift=SUBPIXEL_BITS)
    return cv2.GaussianBlur(mask, (0, 0), 0.004 * height).astype(np.float32) / 255


def _noise(rng, rows, height, width):
    """Smooth noise of unit strength with about `rows` grains down a picture of any size: [H, W]."""
    columns = max(2, round(rows * width / height))
    grains = rng.standard_normal((rows, columns)).astype(np.float32)
    return cv2.resize(grains, (width, height), interpolation=cv2.INTER_CUBIC)


def _instance_ids(shapes):
    """The instance id of each shape, 0 of what is none: int [n]. Parts of one class of a thing are one instance."""
    category = {TRAIN_ID[name]: number for number, name in CATEGORIES.items()}
    ids: dict[tuple[int, int], int] = {}
    counts = dict.fromkeys(CATEGORIES, 0)
    for shape in shapes:
        number = category.get(shape.class_id)
        if number is not None and (shape.thing, number) not in ids:
            ids[shape.thing, number] = number * FACTOR + counts[number]
            counts[number] += 1
    return np.array([ids.get((shape.thing, category.get(shape.class_id, 0)), 0) for shape in shapes])


def rasterise(
    scene: Scene, height: int, width: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws a scene: image float32 [H, W, 3] RGB before the lens, label uint8 [H, W], instance ids uint16 [H, W]."""
    shapes = sorted(scene.shapes, key=lambda shape: shape.key)
    fine = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING), np.uint16)
    _paint(fine, shapes)
    middle = SUPERSAMPLING // 2
    owner = np.ascontiguousarray(fine[middle::SUPERSAMPLING, middle::SUPERSAMPLING])
    label = np.array([shape.class_id for shape in shapes], np.uint8)[owner]

    # Four bytes make one word: looking up words is several times faster than looking up rows of three bytes.
    colours = np.zeros((len(shapes), 4), np.uint8)
    colours[:, :3] = np.clip([shape.colour for shape in shapes], 0, 255)
    samples = colours.view(np.uint32).ravel()[fine].view(np.uint8).reshape(*fine.shape, 4)
    image = cv2.resize(samples, (width, height), interpolation=cv2.INTER_AREA)[..., :3].astype(np.float32)
    strength = np.array([shape.texture for shape in shapes], np.float32)[owner]
    grain = sum(strength[..., i] * _noise(rng, rows, height, width) for i, rows in enumerate((256, 72, 14)))

    shadow = _shadow(scene.shadows, height, width)
    lit = np.array([shape.lit for shape in shapes], np.float32)[owner]
    dark = 1 - shadow * lit * (0.12 + 0.42 * scene.light.sun)
    return (image + grain[..., None]) * dark[..., None], label, _instance_ids(shapes).astype(np.uint16)[owner]
