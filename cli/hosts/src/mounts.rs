//! What a host sees of the machine's files. Runs in the host's fresh mount namespace.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use crate::config::HostConfig;
use crate::{Context, Error};

const NONE: Option<&str> = None;

fn tmpfs(at: &Path, mode: &str) -> Result<(), Error> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some(mode))
        .context(|| format!("mount a tmpfs on {}", at.display()))
}

fn bind(from: &Path, at: &Path) -> Result<(), Error> {
    mount(Some(from), at, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)
        .context(|| format!("mount {} on {}", from.display(), at.display()))
}

/// Where a persistent folder's content is kept.
pub(crate) fn disk_folder(host_folder: &Path, target: &Path) -> PathBuf {
    host_folder.join("disk").join(target.strip_prefix("/").unwrap_or(target))
}

/// Sets the host's files up: `/run` and `/dev/shm` of its own and empty, the persistent folders
/// from its disk, single files over the machine's. Everything stays within this namespace.
pub(crate) fn set_up(config: &HostConfig, host_folder: &Path) -> Result<(), Error> {
    // Nothing mounted from here on may show up on the machine.
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
        .context(|| "make the host's mounts private".into())?;
    let folders = config.persistent.iter().map(|target| (target, disk_folder(host_folder, target)));
    let mut folders: Vec<_> = folders.collect();
    // A cover hides what is mounted below it, so those of outer folders come first.
    folders.sort_by_key(|(target, _)| nearest(target).components().count());
    for (_, disk) in &folders {
        fs::create_dir_all(disk).context(|| format!("make {}", disk.display()))?;
    }
    // The work folder may lie below something that is covered in a moment.
    let stash = Path::new("/dev/shm");
    tmpfs(stash, "mode=1777")?;
    let scratch = stash.join(".host");
    fs::create_dir(&scratch).context(|| "make a scratch folder".into())?;
    tmpfs(Path::new("/run"), "mode=755")?;
    for folder in ["/run/lock", "/run/resource-agents"] {
        fs::create_dir(folder).context(|| format!("make {folder}"))?;
    }
    let mut cover = Cover { scratch, overlays: Vec::new(), folders: vec!["/run".into()] };
    for (target, disk) in &folders {
        if !target.is_dir() {
            cover.make_folder(target)?;
        }
        bind(disk, target)?;
        cover.overlays.push((*target).clone());
    }
    for (target, content) in &config.files {
        if target.is_file() {
            bind(content, target)?;
            continue;
        }
        if let Some(folder) = target.parent() {
            cover.make_folder(folder)?;
        }
        fs::copy(content, target)
            .context(|| format!("copy {} to {}", content.display(), target.display()))?;
    }
    Ok(())
}

/// Makes folders the machine does not have, without making them on the machine: the nearest
/// folder above that exists is covered, and the new one made in the cover.
struct Cover {
    scratch: PathBuf,
    /// Folders that are the host's own with everything below them.
    overlays: Vec<PathBuf>,
    /// Folders that are the host's own, but not what is below them.
    folders: Vec<PathBuf>,
}

impl Cover {
    fn make_folder(&mut self, target: &Path) -> Result<(), Error> {
        let above = nearest(target);
        let is_ours = self.folders.iter().any(|folder| above == folder)
            || self.overlays.iter().any(|folder| above.starts_with(folder));
        if !is_ours {
            if above == Path::new("/") {
                let target = target.display();
                return Err(Error::Config(format!("nothing above {target} exists")));
            }
            let number = self.overlays.len() + self.folders.len();
            let scratch = self.scratch.join(number.to_string());
            if overlay(above, &scratch).is_ok() {
                self.overlays.push(above.to_owned());
            } else {
                cover_one_by_one(above, &scratch)?;
                self.folders.push(above.to_owned());
            }
        }
        fs::create_dir_all(target).context(|| format!("make {}", target.display()))
    }
}

/// The folder itself, or the nearest one above it that exists.
fn nearest(folder: &Path) -> &Path {
    folder.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"))
}

fn overlay(over: &Path, scratch: &Path) -> Result<(), Error> {
    let (upper, work) = (scratch.join("upper"), scratch.join("work"));
    for folder in [&upper, &work] {
        fs::create_dir_all(folder).context(|| format!("make {}", folder.display()))?;
    }
    let mode = fs::metadata(over).context(|| format!("look at {}", over.display()))?;
    let _ = fs::set_permissions(&upper, fs::Permissions::from_mode(mode.permissions().mode()));
    let layers = format!(
        "lowerdir={},upperdir={},workdir={}",
        over.display(),
        upper.display(),
        work.display()
    );
    let what = || format!("mount an overlay on {}", over.display());
    let with = |options: &str| {
        mount(Some("overlay"), over, Some("overlay"), MsFlags::empty(), Some(options))
    };
    with(&layers).or_else(|_| with(&format!("{layers},userxattr"))).context(what)
}

/// For kernels that refuse overlays to ordinary users: an empty folder with everything of the
/// original mounted into it one by one.
fn cover_one_by_one(over: &Path, scratch: &Path) -> Result<(), Error> {
    let original = scratch.join("original");
    fs::create_dir_all(&original).context(|| format!("make {}", original.display()))?;
    bind(over, &original)?;
    tmpfs(over, "mode=755")?;
    let entries = fs::read_dir(&original).context(|| format!("list {}", over.display()))?;
    for entry in entries.flatten() {
        let (from, at) = (entry.path(), over.join(entry.file_name()));
        let Ok(kind) = entry.file_type() else { continue };
        let made = if kind.is_dir() {
            fs::create_dir(&at)
        } else if kind.is_symlink() {
            // A link is copied, not mounted.
            let copied = fs::read_link(&from).and_then(|to| std::os::unix::fs::symlink(to, &at));
            copied.context(|| format!("copy the link {}", at.display()))?;
            continue;
        } else {
            fs::File::create(&at).map(|_| ())
        };
        made.context(|| format!("make {}", at.display()))?;
        bind(&from, &at)?;
    }
    Ok(())
}
