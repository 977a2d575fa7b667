//! How worn the medium is that the state folder lies on, where the kernel tells it: eMMC counts its life in tenths.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What is known of the medium.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wear {
    /// eMMC: up to so many percent of its life are used, by the worse of its two estimates; and whether its reserve of
    /// spare blocks runs out.
    Used {
        /// In steps of ten; above 100 its life is over.
        percent: u32,
        /// As the medium says it: nothing is left of its reserve, or little.
        reserve_low: bool,
    },
    /// A medium of this name that does not tell.
    Silent(String),
    /// Which medium it is cannot be seen from here.
    Unknown,
}

/// Looks at the medium of a folder.
pub fn of_folder(folder: &Path) -> Wear {
    let Ok(metadata) = fs::metadata(folder) else { return Wear::Unknown };
    let (major, minor) = (rustix::fs::major(metadata.dev()), rustix::fs::minor(metadata.dev()));
    match fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")) {
        Ok(device) => of_device(&device),
        Err(_) => Wear::Unknown,
    }
}

/// From the folder of a block device in sysfs; that of a partition lies in it.
fn of_device(device: &Path) -> Wear {
    let whole = if device.join("partition").exists() { device.parent() } else { Some(device) };
    let Some(whole) = whole.map(Path::to_owned) else { return Wear::Unknown };
    let name = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let read = |file: &str| fs::read_to_string(whole.join("device").join(file)).ok();
    let Some(life) = read("life_time") else { return Wear::Silent(name) };
    // Two words such as `0x01 0x02`: tenths of the life of two kinds of cells. 0x00 is not defined.
    let tenths = life.split_whitespace().filter_map(|word| u32::from_str_radix(word.trim_start_matches("0x"), 16).ok());
    match tenths.max() {
        None | Some(0) => Wear::Silent(name),
        Some(tenths) => {
            let reserve = read("pre_eol_info").unwrap_or_default();
            let reserve_low = matches!(reserve.trim().trim_start_matches("0x").trim_start_matches('0'), "2" | "3");
            Wear::Used { percent: tenths * 10, reserve_low }
        }
    }
}

/// Bytes of the file system of a folder: free for us, and all.
pub fn space(folder: &Path) -> Option<(u64, u64)> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    Some((stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn an_emmc_tells_the_worse_of_its_estimates_and_others_are_silent() {
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("mmcblk0");
        let partition = disk.join("mmcblk0p2");
        fs::create_dir_all(disk.join("device")).unwrap();
        fs::create_dir_all(&partition).unwrap();
        fs::write(partition.join("partition"), "2\n").unwrap();
        assert_eq!(of_device(&partition), Wear::Silent("mmcblk0".to_owned()));
        let tells = |life: &str, reserve: &str| {
            fs::write(disk.join("device/life_time"), life).unwrap();
            fs::write(disk.join("device/pre_eol_info"), reserve).unwrap();
            of_device(&partition)
        };
        assert_eq!(tells("0x01 0x03\n", "0x01\n"), Wear::Used { percent: 30, reserve_low: false });
        assert_eq!(tells("0x0b 0x02\n", "0x03\n"), Wear::Used { percent: 110, reserve_low: true });
        assert_eq!(tells("0x00 0x00\n", "0x00\n"), Wear::Silent("mmcblk0".to_owned()));
        assert_eq!(of_device(&folder.path().join("nothing")), Wear::Silent("nothing".to_owned()));
    }
}
