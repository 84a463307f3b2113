//! Which exit node suits best (feature reference §9.2). Pure: chance is an argument.

use netmap::{NetMap, Node, RegionId};

/// Control gives it to nodes that may be chosen by themselves.
const MAY_BE_SUGGESTED: &str = "suggest-exit-node";
/// Control gives it to us where its own order of preference decides.
const BY_PRIORITY: &str = "traffic-steering";

/// Nodes so much farther than the nearest are as good as it, in km.
const AS_NEAR: f64 = 100.0;
/// Radius of the earth, in km.
const EARTH: f64 = 6371.0;

/// Whether `node` may be chosen at all.
pub(super) fn may_be(node: &Node) -> bool {
    node.online == Some(true) && node.offers_exit() && node.has_cap(MAY_BE_SUGGESTED)
}

/// The node that suits best, if there is any. `far` is how many seconds a region is away, `previous` the id of the one
/// that was chosen before and is kept among equals; `dice` chooses among the rest.
///
/// # Errors
/// When it cannot be said yet.
pub fn suggest<'a>(
    map: &'a NetMap,
    home: RegionId,
    far: &dyn Fn(RegionId) -> Option<f64>,
    previous: &str,
    dice: u32,
) -> Result<Option<&'a Node>, &'static str> {
    let mut good: Vec<&Node> = map.peers().filter(|node| may_be(node)).collect();
    if map.self_node.has_cap(BY_PRIORITY) {
        return Ok(among(most_wanted(good), previous, dice));
    }
    let Some(region) = map.derp_map.regions.get(&home) else {
        return Err("no preferred DERP, try again later");
    };
    if good.len() > 1 && good.iter().any(|node| !node.home_derp.is_none()) {
        good.retain(|node| !node.home_derp.is_none());
        let mut regions: Vec<RegionId> = good.iter().map(|node| node.home_derp).collect();
        regions.sort_unstable();
        regions.dedup();
        let measured = regions.iter().filter_map(|id| Some((*id, far(*id)?)));
        let nearest = measured.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(id, _)| id);
        let chosen = nearest.or_else(|| pick(&regions, dice).copied());
        good.retain(|node| Some(node.home_derp) == chosen);
    } else if good.len() > 1 {
        let here = (region.latitude, region.longitude);
        let away = |node: &Node| {
            let location = node.hostinfo.rest().and_then(|rest| rest.location.as_ref());
            location.map_or(f64::INFINITY, |place| distance(here, (place.latitude, place.longitude)))
        };
        let least = good.iter().map(|node| away(node)).fold(f64::INFINITY, f64::min);
        good.retain(|node| away(node) <= least + AS_NEAR);
        good = most_wanted(good);
    }
    Ok(among(good, previous, dice))
}

/// Those of the highest priority.
fn most_wanted(mut good: Vec<&Node>) -> Vec<&Node> {
    let priority = |node: &Node| {
        let location = node.hostinfo.rest().and_then(|rest| rest.location.as_ref());
        location.map_or(0, |place| place.priority)
    };
    let most = good.iter().map(|node| priority(node)).max();
    good.retain(|node| Some(priority(node)) == most);
    good
}

/// The one chosen before, if it is among them, else any.
fn among<'a>(good: Vec<&'a Node>, previous: &str, dice: u32) -> Option<&'a Node> {
    let before = good.iter().find(|node| *node.stable_id.0 == *previous);
    before.or_else(|| pick(&good, dice)).copied()
}

fn pick<T>(list: &[T], dice: u32) -> Option<&T> {
    list.get(dice as usize % list.len().max(1))
}

/// Between two places given as degrees north and east, in km along the surface.
fn distance(a: (f64, f64), b: (f64, f64)) -> f64 {
    let half = |x: f64, y: f64| ((x - y).to_radians() / 2.0).sin().powi(2);
    let cosines = a.0.to_radians().cos() * b.0.to_radians().cos();
    let chord = half(a.0, b.0) + cosines * half(a.1, b.1);
    2.0 * EARTH * chord.clamp(0.0, 1.0).sqrt().asin()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use netmap::{Changes, DerpRegion, HostRest, Hostinfo, Location, NodeId, Rare, StableId, System};

    /// An exit node `n{id}` at 100.64.0.{id} that may be suggested.
    pub(in super::super) fn exit(id: u8, home: u16) -> Node {
        let nets = |texts: &[String]| texts.iter().map(|net| net.parse().expect("net")).collect();
        let own = format!("100.64.0.{id}/32");
        let cap_map = [(MAY_BE_SUGGESTED.into(), Box::default())].into();
        Node {
            id: NodeId(id.into()),
            stable_id: StableId(format!("n{id}").into()),
            addresses: nets(std::slice::from_ref(&own)),
            allowed_ips: nets(&[own, "0.0.0.0/0".to_owned(), "::/0".to_owned()]),
            home_derp: RegionId(home),
            online: Some(true),
            rare: Rare { cap_map, ..Rare::default() }.boxed(),
            ..Node::default()
        }
    }

    /// A network of these, with three regions, the first at 0° north and east.
    pub(in super::super) fn map_of(peers: impl IntoIterator<Item = Node>) -> NetMap {
        let mut map = NetMap::default();
        for peer in peers {
            map.upsert_peer(peer, &mut Changes::default());
        }
        for id in 1..=3 {
            map.derp_map
                .regions
                .insert(RegionId(id), DerpRegion { id: RegionId(id), ..DerpRegion::default() });
        }
        map
    }

    fn at(id: u8, latitude: f64, longitude: f64, priority: i32) -> Node {
        let location = Some(Location { latitude, longitude, priority, ..Location::default() });
        let rest = HostRest { location, ..HostRest::default() };
        let hostinfo = Hostinfo::new("x".into(), Box::default(), System::default(), rest);
        Node { hostinfo, ..exit(id, 0) }
    }

    fn chosen(map: &NetMap, previous: &str, dice: u32) -> Option<u64> {
        let far =
            |id: RegionId| [None, Some(0.09), Some(0.02), None].get(usize::from(id.0)).copied().flatten();
        let node = suggest(map, RegionId(1), &far, previous, dice).expect("a suggestion");
        node.map(|node| node.id.0.unsigned_abs())
    }

    #[test]
    fn the_nearest_region_decides_and_the_previous_one_stays() {
        assert_eq!(chosen(&map_of([]), "", 0), None);
        assert_eq!(chosen(&map_of([exit(1, 3)]), "", 7), Some(1));
        let map = map_of([exit(1, 1), exit(2, 2), exit(3, 2), exit(4, 3)]);
        assert_eq!([0, 1, 2].map(|dice| chosen(&map, "", dice)), [Some(2), Some(3), Some(2)]);
        assert_eq!(chosen(&map, "n3", 0), Some(3));
        assert_eq!(chosen(&map, "n1", 0), Some(2));
        let unmeasured = map_of([exit(1, 3), exit(2, 3), exit(3, 0)]);
        assert_eq!([0, 1].map(|dice| chosen(&unmeasured, "", dice)), [Some(1), Some(2)]);
    }

    #[test]
    fn who_may_not_be_suggested() {
        let offline = Node { online: Some(false), ..exit(1, 1) };
        let shy = Node { rare: None, ..exit(2, 1) };
        let half = Node { allowed_ips: ["0.0.0.0/0".parse().expect("net")].into(), ..exit(3, 1) };
        assert_eq!(chosen(&map_of([offline, shy, half]), "", 0), None);
        let map = map_of([exit(1, 1)]);
        let unready = suggest(&map, RegionId(9), &|_| None, "", 0);
        assert!(unready.is_err_and(|why| why.contains("try again")));
    }

    #[test]
    fn without_relays_the_distance_decides_then_the_priority() {
        let map = map_of([at(1, 10.0, 0.0, 9), at(2, 1.0, 0.0, 1), at(3, 1.0, 0.7, 5), at(4, 1.5, 0.0, 5)]);
        // 2 is 111 km away, 3 is 136, 4 is 167 and 1 more than a thousand.
        assert_eq!([0, 1].map(|dice| chosen(&map, "", dice)), [Some(3), Some(4)]);
        assert_eq!(chosen(&map, "n2", 1), Some(4));
        let mut steered = map_of([at(1, 10.0, 0.0, 9), at(2, 1.0, 0.0, 1)]);
        steered.self_node.rare =
            Rare { cap_map: [(BY_PRIORITY.into(), Box::default())].into(), ..Rare::default() }.boxed();
        assert_eq!(chosen(&steered, "n2", 0), Some(1));
    }

    #[test]
    fn distances() {
        assert!(distance((52.5, 13.4), (52.5, 13.4)) < 1e-6);
        let berlin_to_new_york = distance((52.52, 13.405), (40.7128, -74.006));
        assert!((berlin_to_new_york - 6385.0).abs() < 10.0, "{berlin_to_new_york}");
        assert!((distance((0.0, 0.0), (0.0, 180.0)) - 20_015.0).abs() < 1.0);
    }
}
