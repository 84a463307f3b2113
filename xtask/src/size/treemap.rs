//! A picture of where the bytes are: a rectangle for each crate, and in it one for each of its larger symbols, with areas
//! that are proportional to bytes.
//!
//! Owns: the layout (rows as near to squares as they get, the largest first) and the SVG. Leaves out: what is counted.

use super::symbols::{self, Symbol};

/// Size of the picture in pixels.
const WIDTH: f64 = 1600.0;
const HEIGHT: f64 = 1000.0;

/// Smaller rectangles have no room for their name.
const NAMED: (f64, f64) = (60.0, 12.0);

/// Symbols below this are drawn together as one.
const LEAST: u64 = 512;

#[derive(Debug, Clone, Copy, PartialEq)]
struct Area {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// Divides `area` in proportion to `weights`, which are sorted, the largest first.
fn layout(weights: &[f64], area: Area) -> Vec<Area> {
    let mut placed = Vec::with_capacity(weights.len());
    let (mut rest, mut area) = (weights, area);
    while !rest.is_empty() {
        let total: f64 = rest.iter().sum();
        let scale = if total > 0.0 { area.width * area.height / total } else { 0.0 };
        let side = area.width.min(area.height);
        // A row takes one more as long as its worst rectangle becomes no longer by that.
        let mut taken = 1;
        while taken < rest.len() && worst(&rest[..=taken], scale, side) <= worst(&rest[..taken], scale, side)
        {
            taken += 1;
        }
        let (row, behind) = rest.split_at(taken);
        let sum: f64 = row.iter().sum::<f64>() * scale;
        let depth = if side > 0.0 { sum / side } else { 0.0 };
        let (mut x, mut y) = (area.x, area.y);
        for weight in row {
            let length = if depth > 0.0 { weight * scale / depth } else { 0.0 };
            if area.width >= area.height {
                placed.push(Area { x, y, width: depth, height: length });
                y += length;
            } else {
                placed.push(Area { x, y, width: length, height: depth });
                x += length;
            }
        }
        if area.width >= area.height {
            area.x += depth;
            area.width -= depth;
        } else {
            area.y += depth;
            area.height -= depth;
        }
        rest = behind;
    }
    placed
}

/// How far the least square rectangle of a row is from a square.
fn worst(row: &[f64], scale: f64, side: f64) -> f64 {
    let sum: f64 = row.iter().sum::<f64>() * scale;
    let of = |weight: f64| {
        let area = weight * scale;
        (side * side * area / (sum * sum)).max(sum * sum / (side * side * area))
    };
    row.iter().map(|weight| of(*weight)).fold(0.0, f64::max)
}

/// The picture, with `title` above it.
pub(super) fn svg(title: &str, symbols: &[Symbol]) -> String {
    let crates = symbols::by_crate(symbols);
    let weights: Vec<f64> = crates.iter().map(|(_, bytes)| *bytes as f64).collect();
    let whole = Area { x: 0.0, y: 24.0, width: WIDTH, height: HEIGHT - 24.0 };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<text x=\"4\" y=\"16\" font-size=\"14\">{}</text>\n",
        escaped(title)
    );
    for (index, ((name, bytes), area)) in crates.iter().zip(layout(&weights, whole)).enumerate() {
        let hue = index * 47 % 360;
        let (large, small): (Vec<_>, Vec<_>) =
            symbols.iter().filter(|symbol| symbol.owner == *name).partition(|symbol| symbol.bytes >= LEAST);
        let mut parts: Vec<(&str, u64)> = large.iter().map(|s| (s.name.as_str(), s.bytes)).collect();
        parts.push(("smaller ones", small.iter().map(|s| s.bytes).sum()));
        parts.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let weights: Vec<f64> = parts.iter().map(|(_, bytes)| *bytes as f64).collect();
        for ((part, bytes), area) in parts.iter().zip(layout(&weights, area)) {
            rectangle(
                &mut out,
                area,
                &format!("hsl({hue},55%,78%)"),
                &format!("{name}: {part}, {bytes} bytes"),
            );
        }
        outline(&mut out, area, &format!("{name} {} KB", bytes / 1000));
    }
    out.push_str("</svg>\n");
    out
}

fn rectangle(out: &mut String, area: Area, fill: &str, tip: &str) {
    let Area { x, y, width, height } = area;
    out.push_str(&format!(
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{fill}\" stroke=\"#fff\" \
         stroke-width=\"0.4\"><title>{}</title></rect>\n",
        escaped(tip)
    ));
}

fn outline(out: &mut String, area: Area, name: &str) {
    let Area { x, y, width, height } = area;
    out.push_str(&format!(
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"none\" stroke=\"#333\"/>\n"
    ));
    if width > NAMED.0 && height > NAMED.1 {
        out.push_str(&format!("<text x=\"{:.1}\" y=\"{:.1}\">{}</text>\n", x + 3.0, y + 12.0, escaped(name)));
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_proportional_and_fill_the_whole() {
        let whole = Area { x: 0.0, y: 0.0, width: 60.0, height: 40.0 };
        let weights = [6.0, 6.0, 4.0, 3.0, 2.0, 2.0, 1.0];
        let areas = layout(&weights, whole);
        for (area, weight) in areas.iter().zip(weights) {
            assert!((area.width * area.height - weight * 100.0).abs() < 1e-6, "{area:?}");
            assert!(area.x >= -1e-9 && area.x + area.width <= 60.0 + 1e-9, "{area:?}");
            assert!(area.y >= -1e-9 && area.y + area.height <= 40.0 + 1e-9, "{area:?}");
            assert!((area.width / area.height).max(area.height / area.width) < 3.0, "{area:?}");
        }
    }

    #[test]
    fn nothing_and_zero_are_drawn_without_harm() {
        assert!(layout(&[], Area { x: 0.0, y: 0.0, width: 1.0, height: 1.0 }).is_empty());
        assert_eq!(layout(&[0.0], Area { x: 0.0, y: 0.0, width: 1.0, height: 1.0 }).len(), 1);
        let symbol = Symbol { bytes: 9000, owner: "a<b".to_owned(), name: "c&d".to_owned() };
        let picture = svg("t", &[symbol]);
        assert!(picture.contains("a&lt;b") && picture.contains("c&amp;d") && picture.ends_with("</svg>\n"));
    }
}
