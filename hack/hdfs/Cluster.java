// What hack/hdfs/hdfs starts: two HDFS in one process, each with classes of its own, since Hadoop keeps how one logs in in variables of
// the whole program. One trusts every name and has two name nodes, of which one is standby; the other one asks for Kerberos, and its
// KDC is here too. There are no data nodes: nobody reads a file. Ends when it is killed.
//
//   Cluster DIR    DIR holds ssl-server.xml and is on the class path; every address and token is written to DIR/said
import java.io.File;
import java.net.InetSocketAddress;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.permission.FsPermission;
import org.apache.hadoop.hdfs.HdfsConfiguration;
import org.apache.hadoop.hdfs.MiniDFSCluster;
import org.apache.hadoop.hdfs.MiniDFSNNTopology;
import org.apache.hadoop.hdfs.server.namenode.NameNode;
import org.apache.hadoop.minikdc.MiniKdc;
import org.apache.hadoop.security.UserGroupInformation;
import org.apache.hadoop.security.token.Token;
import org.apache.hadoop.security.token.delegation.AbstractDelegationTokenSecretManager;
import org.apache.kerby.kerberos.kerb.crypto.EncryptionHandler;
import org.apache.kerby.kerberos.kerb.keytab.Keytab;
import org.apache.kerby.kerberos.kerb.keytab.KeytabEntry;
import org.apache.kerby.kerberos.kerb.type.KerberosTime;
import org.apache.kerby.kerberos.kerb.type.base.EncryptionType;
import org.apache.kerby.kerberos.kerb.type.base.PrincipalName;

public class Cluster {
  /** Directories of /data, with their group and mode. Each has a file in it, which may be read like the directory. */
  private static final String[][] SEED = {
    {"orders", "readers", "750"}, {"incoming", "readers", "770"}, {"drop", "readers", "730"}, {"names", "readers", "740"},
    {"private", "hadoop", "700"}, {"public", "hadoop", "755"},
  };

  public static void main(String[] arguments) throws Exception {
    String dir = arguments[0];
    var urls = new ArrayList<URL>();
    for (String part : System.getProperty("java.class.path").split(File.pathSeparator)) urls.add(new File(part).toURI().toURL());
    var said = new String[2];
    var failed = new Throwable[2];
    var threads = new ArrayList<Thread>();
    for (int i = 0; i < 2; i++) {
      int which = i;
      var loader = new URLClassLoader(urls.toArray(new URL[0]), ClassLoader.getPlatformClassLoader());
      var thread = new Thread(() -> {
        try {
          Thread.currentThread().setContextClassLoader(loader);
          var start = loader.loadClass("Cluster").getMethod(which == 0 ? "simple" : "kerberos", String.class);
          said[which] = (String) start.invoke(null, dir);
        } catch (Throwable thrown) {
          failed[which] = thrown;
        }
      });
      thread.start();
      threads.add(thread);
    }
    for (Thread thread : threads) thread.join();
    for (Throwable thrown : failed) {
      if (thrown != null) {
        thrown.printStackTrace();
        System.exit(1);
      }
    }
    Path whole = Path.of(dir, "said.new");
    Files.writeString(whole, said[0] + said[1]);
    Files.move(whole, Path.of(dir, "said"), StandardCopyOption.ATOMIC_MOVE);
    Thread.currentThread().join();
  }

  // --- every name is trusted ------------------------------------------------------------------------------------------------------

  public static String simple(String dir) throws Exception {
    var conf = configuration(dir, "simple");
    UserGroupInformation.setConfiguration(conf);
    UserGroupInformation.setLoginUser(UserGroupInformation.createRemoteUser("hdfs"));
    var two = new MiniDFSNNTopology.NSConf("shop").addNN(new MiniDFSNNTopology.NNConf("nn1")).addNN(new MiniDFSNNTopology.NNConf("nn2"));
    var cluster = new MiniDFSCluster.Builder(conf).nnTopology(new MiniDFSNNTopology().addNameservice(two)).numDataNodes(0).build();
    cluster.transitionToActive(1);
    cluster.waitActive(1);
    seed(cluster.getFileSystem(1));
    return addresses("STANDBY", "127.0.0.1", cluster.getNameNode(0)) + addresses("ACTIVE", "127.0.0.1", cluster.getNameNode(1));
  }

  // --- Kerberos -------------------------------------------------------------------------------------------------------------------

  public static String kerberos(String dir) throws Exception {
    var settings = MiniKdc.createConf();
    settings.setProperty(MiniKdc.KDC_BIND_ADDRESS, "localhost");
    settings.setProperty(MiniKdc.INSTANCE, "KDC");
    var kdc = new MiniKdc(settings, new File(dir));
    kdc.start();
    var own = new File(dir, "hdfs.keytab");
    kdc.createPrincipal(own, "hdfs/localhost", "HTTP/localhost");
    for (String user : List.of("reader", "nobody", "barred")) kdc.createPrincipal(new File(dir, user + ".keytab"), user);
    made(dir, "wrong", "reader@" + kdc.getRealm());
    made(dir, "stranger", "stranger@" + kdc.getRealm());
    var conf = configuration(dir, "kerberos");
    String service = "hdfs/localhost@" + kdc.getRealm(), web = "HTTP/localhost@" + kdc.getRealm();
    conf.set("hadoop.security.authentication", "kerberos");
    conf.set("hadoop.security.authorization", "true");
    conf.set("dfs.namenode.kerberos.principal", service);
    conf.set("dfs.namenode.keytab.file", own.getPath());
    conf.set("dfs.web.authentication.kerberos.principal", web);
    conf.set("dfs.web.authentication.kerberos.keytab", own.getPath());
    conf.set("hadoop.http.filter.initializers", "org.apache.hadoop.security.AuthenticationFilterInitializer");
    conf.set("hadoop.http.authentication.type", "kerberos");
    conf.set("hadoop.http.authentication.simple.anonymous.allowed", "false");
    conf.set("hadoop.http.authentication.kerberos.principal", web);
    conf.set("hadoop.http.authentication.kerberos.keytab", own.getPath());
    conf.set("dfs.block.access.token.enable", "true");
    conf.set("security.client.protocol.acl.blocked", "barred");
    // More ports of the same name node, where everything after the login is signed or encrypted.
    int signed = Integer.getInteger("cluster.signed"), encrypted = Integer.getInteger("cluster.encrypted");
    conf.set("dfs.namenode.rpc-address.auxiliary-ports", signed + "," + encrypted);
    conf.set("hadoop.security.saslproperties.resolver.class", "org.apache.hadoop.security.IngressPortBasedResolver");
    conf.set("ingress.port.sasl.configured.ports", signed + "," + encrypted);
    conf.set("ingress.port.sasl.prop." + signed, "integrity");
    conf.set("ingress.port.sasl.prop." + encrypted, "privacy");
    UserGroupInformation.setConfiguration(conf);
    UserGroupInformation.loginUserFromKeytab(service, own.getPath());
    var cluster = new MiniDFSCluster.Builder(conf).numDataNodes(0).build();
    cluster.waitActive();
    seed(cluster.getFileSystem());
    String tokens = "TOKEN_READER=" + token(cluster, dir, "reader").encodeToUrlString() + "\n"
        + "TOKEN_NOBODY=" + token(cluster, dir, "nobody").encodeToUrlString() + "\n";
    var cancelled = token(cluster, dir, "reader");
    as(dir, "reader").doAs((java.security.PrivilegedExceptionAction<Void>) () -> {
      cancelled.cancel(conf);
      return null;
    });
    tokens += "TOKEN_CANCELLED=" + cancelled.encodeToUrlString() + "\n";
    // From here on it gives tokens that are over when they are made; those before are good for a day.
    var interval = AbstractDelegationTokenSecretManager.class.getDeclaredField("tokenRenewInterval");
    interval.setAccessible(true);
    var manager = org.apache.hadoop.hdfs.server.namenode.NameNodeAdapter.getDtSecretManager(cluster.getNamesystem());
    interval.setLong(manager, -1000);
    tokens += "TOKEN_EXPIRED=" + token(cluster, dir, "reader").encodeToUrlString() + "\n";
    return addresses("KERBEROS", "localhost", cluster.getNameNode()) + "SIGNED=localhost:" + signed + "\nENCRYPTED=localhost:" + encrypted + "\n"
        + "KDC=localhost:" + kdc.getPort() + "\n" + "REALM=" + kdc.getRealm() + "\n" + tokens;
  }

  private static UserGroupInformation as(String dir, String user) throws Exception {
    return UserGroupInformation.loginUserFromKeytabAndReturnUGI(user, new File(dir, user + ".keytab").getPath());
  }

  private static Token<?> token(MiniDFSCluster cluster, String dir, String user) throws Exception {
    return as(dir, user).doAs((java.security.PrivilegedExceptionAction<Token<?>>) () ->
        FileSystem.newInstance(cluster.getURI(), cluster.getConfiguration(0)).getDelegationToken(user));
  }

  /** A keytab with a key that the KDC does not have. */
  private static void made(String dir, String name, String principal) throws Exception {
    var keytab = new Keytab();
    for (var type : List.of(EncryptionType.AES256_CTS_HMAC_SHA1_96, EncryptionType.AES128_CTS_HMAC_SHA1_96)) {
      var key = EncryptionHandler.string2Key(principal, name, type);
      keytab.addEntry(new KeytabEntry(new PrincipalName(principal), KerberosTime.now(), 1, key));
    }
    keytab.store(new File(dir, name + ".keytab"));
  }

  // --- both -----------------------------------------------------------------------------------------------------------------------

  private static Configuration configuration(String dir, String name) {
    var conf = new HdfsConfiguration();
    conf.set(MiniDFSCluster.HDFS_MINIDFS_BASEDIR, dir + "/" + name);
    conf.set("dfs.permissions.superusergroup", "hadoop");
    conf.set("hadoop.user.group.static.mapping.overrides", "hdfs=hadoop;reader=readers;nobody=;barred=");
    conf.set("hadoop.security.group.mapping", "org.apache.hadoop.security.NullGroupsMapping");
    conf.set("hadoop.http.staticuser.user", "anonymous");
    conf.set("dfs.http.policy", "HTTP_AND_HTTPS");
    conf.set("dfs.namenode.https-address", "127.0.0.1:0");
    conf.setInt("dfs.namenode.handler.count", 3);
    conf.setInt("dfs.ha.tail-edits.period", 3600);
    conf.setInt("hadoop.http.max.threads", 20);
    return conf;
  }

  private static String addresses(String name, String host, NameNode node) {
    return name + "=" + host + ":" + node.getNameNodeAddress().getPort() + "\n" + name + "_WEB=" + address(host, node.getHttpAddress())
        + name + "_SECURE_WEB=" + address(host, node.getHttpsAddress());
  }

  private static String address(String host, InetSocketAddress address) {
    return host + ":" + address.getPort() + "\n";
  }

  private static void seed(FileSystem files) throws Exception {
    for (String[] one : SEED) {
      var directory = new org.apache.hadoop.fs.Path("/data", one[0]);
      var file = new org.apache.hadoop.fs.Path(directory, "part-0");
      files.mkdirs(directory);
      files.create(file, true, 4096, (short) 1, 1 << 20).close();
      files.setOwner(file, "hdfs", one[1]);
      files.setPermission(file, new FsPermission((short) (Integer.parseInt(one[2], 8) & 0666)));
      files.setOwner(directory, "hdfs", one[1]);
      files.setPermission(directory, new FsPermission(Short.parseShort(one[2], 8)));
    }
    // More than a name node tells at once, in more than a probe reads.
    for (int i = 0; i < 1100; i++) files.mkdirs(new org.apache.hadoop.fs.Path("/data/many", "a-directory-whose-name-is-rather-long-" + i));
  }
}
